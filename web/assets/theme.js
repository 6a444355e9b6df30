// Before the first paint: the colours that were chosen here.
(function () {
  const chosen = localStorage.getItem("npp-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
