// Times in the chosen zone, colours, the search key, copy buttons, countdowns and how live a page is.
(function () {
  "use strict";
  const ZONES = { sydney: "Australia/Sydney", utc: "UTC", local: undefined };
  const STALE_MS = 5000;
  const THEMES = { auto: ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };
  const byId = (id) => document.getElementById(id);

  // -- times ---------------------------------------------------------------------------------
  let zone = localStorage.getItem("npp-zone") || "sydney";
  if (!(zone in ZONES)) zone = "sydney";

  function formats(name) {
    const timeZone = ZONES[name];
    return {
      day: new Intl.DateTimeFormat("en-AU", { timeZone, day: "numeric", month: "short", year: "numeric" }),
      clock: new Intl.DateTimeFormat("en-AU", { timeZone, hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }),
      zone: new Intl.DateTimeFormat("en-AU", { timeZone, timeZoneName: "short" }),
    };
  }
  let format = formats(zone);
  const zoneName = (at) => format.zone.formatToParts(at).find((part) => part.type === "timeZoneName").value;
  const clockOf = (at) => format.clock.format(at);

  function writeTimes(root) {
    for (const each of root.querySelectorAll("time[datetime]")) {
      const at = new Date(each.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const ms = String(at.getMilliseconds()).padStart(3, "0");
      const text = `${format.day.format(at)} ${clockOf(at)}.${ms} ${zoneName(at)}`;
      if (each.textContent !== text) each.textContent = text;
    }
  }

  function chooseZone(name) {
    zone = name;
    localStorage.setItem("npp-zone", name);
    format = formats(name);
    writeTimes(document);
    document.dispatchEvent(new CustomEvent("npp:zone"));
  }

  // -- colours -------------------------------------------------------------------------------
  function showTheme(button) {
    const chosen = document.documentElement.dataset.theme || "auto";
    const [sign, name] = THEMES[chosen];
    button.textContent = sign;
    button.setAttribute("aria-label", `Colours: ${name}`);
    button.title = `Colours: ${name}`;
  }

  function nextTheme(button) {
    const order = Object.keys(THEMES);
    const now = document.documentElement.dataset.theme || "auto";
    const next = order[(order.indexOf(now) + 1) % order.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    localStorage.setItem("npp-theme", next);
    showTheme(button);
    document.dispatchEvent(new CustomEvent("npp:theme"));
  }

  // -- how live ------------------------------------------------------------------------------
  let behindMs = 0;
  let heardAt = 0; // performance.now() of the last tick
  let dataAt = null;
  let wasLive = null;

  function heard() {
    const tick = document.querySelector("[data-tick]");
    if (!tick) return;
    behindMs = Number(tick.dataset.behindMs);
    dataAt = new Date(tick.dataset.at);
    heardAt = performance.now();
    showLive();
  }

  function showLive() {
    const place = byId("live");
    if (!place || dataAt === null) return;
    const silent = performance.now() - heardAt;
    const live = silent < STALE_MS;
    const text = live
      ? `live, ${((behindMs + silent) / 1000).toFixed(1)} s behind`
      : `reconnecting, data from ${clockOf(dataAt)} ${zoneName(dataAt)}`;
    place.dataset.state = live ? "live" : "stale";
    place.querySelector("#live-label").textContent = text;
    if (wasLive !== null && wasLive !== live) say(live ? "Live again." : text);
    wasLive = live;
  }

  function say(text) {
    byId("said").textContent = text;
  }

  // -- countdowns ----------------------------------------------------------------------------
  function countDown() {
    for (const each of document.querySelectorAll("[data-due]")) {
      const left = Math.round((new Date(each.dataset.due) - Date.now()) / 1000);
      each.textContent = left > 0 ? `in ${span(left)}` : `due ${span(-left)} ago`;
    }
  }

  function span(seconds) {
    if (seconds < 90) return `${seconds} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
    return `${Math.round(seconds / 86400)} d`;
  }

  // -- copy ----------------------------------------------------------------------------------
  async function copy(button) {
    const text = button.dataset.copy || byId(button.dataset.copyFrom).textContent;
    try {
      await navigator.clipboard.writeText(text);
      say("Copied.");
      button.dataset.done = "yes";
      setTimeout(() => delete button.dataset.done, 1500);
    } catch {
      say("The browser did not allow to copy.");
    }
  }

  // -- start ---------------------------------------------------------------------------------
  const chooser = byId("zone");
  chooser.hidden = false;
  chooser.value = zone;
  chooser.addEventListener("change", () => chooseZone(chooser.value));
  const theme = byId("theme");
  theme.hidden = false;
  showTheme(theme);
  theme.addEventListener("click", () => nextTheme(theme));

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const box = byId("q");
    if (!box) return;
    event.preventDefault();
    box.focus();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy],[data-copy-from]");
    if (button) copy(button);
  });
  document.addEventListener("htmx:sseMessage", (event) => {
    writeTimes(event.target);
    if (event.detail.type === "tick") heard();
  });
  // What somebody is writing is not swapped away: a note says that the payment has moved on.
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const place = event.target;
    const busy = [...place.querySelectorAll("textarea, input[type=text]")].some((each) => each.value) || place.contains(document.activeElement);
    if (!busy) return;
    event.detail.shouldSwap = false;
    const note = place.querySelector(".changed");
    if (note) note.hidden = false;
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    writeTimes(event.target);
    countDown();
  });
  writeTimes(document);
  heard();
  countDown();
  setInterval(() => {
    showLive();
    countDown();
  }, 500);
})();
