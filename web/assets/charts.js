// Draws each chart from the table that is beside it, and again when the table changes.
(function () {
  "use strict";
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const charts = new Map(); // canvas → chart
  const drawn = new Map(); // canvas → what it was drawn from

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const value = (cell) => Number(cell.dataset.value);
  const table = (canvas) => document.getElementById(canvas.dataset.table);

  function rows(canvas) {
    return [...table(canvas).querySelectorAll("tbody tr")];
  }

  function labels(canvas) {
    return rows(canvas).map((row) => row.querySelector("th").textContent.trim());
  }

  function shares(canvas) {
    const values = rows(canvas).map((row) => value(row.querySelector("[data-value]")));
    const none = values.every((each) => each === 0);
    const colours = rows(canvas).map((row) => colour(`c-${row.dataset.series}`));
    return {
      type: "doughnut",
      data: {
        labels: none ? ["none"] : labels(canvas),
        datasets: [{
          data: none ? [1] : values,
          backgroundColor: none ? [colour("line")] : colours,
          borderColor: colour("card"),
          borderWidth: none ? 0 : 2,
        }],
      },
      options: { cutout: "62%", plugins: { legend: { display: false }, tooltip: { enabled: !none } } },
    };
  }

  function clock(row) {
    const text = row.querySelector("th").textContent;
    const found = /(\d\d:\d\d):\d\d/.exec(text);
    return found ? found[1] : text;
  }

  function zoneOf(canvas) {
    const first = rows(canvas)[0];
    return first ? first.querySelector("th").textContent.trim().split(" ").pop() : "";
  }

  function line(canvas) {
    const heads = [...table(canvas).querySelectorAll("thead [data-series]")];
    const cells = rows(canvas).map((row) => [...row.querySelectorAll("[data-value]")].map(value));
    const styles = [[], [], [6, 4]];
    return {
      type: "line",
      data: {
        labels: rows(canvas).map(clock),
        datasets: heads.map((head, n) => ({
          label: head.textContent,
          data: cells.map((each) => each[n]),
          borderColor: colour(`c-${head.dataset.series}`),
          backgroundColor: colour(`c-${head.dataset.series}`),
          borderDash: styles[n],
          borderWidth: 2,
          pointRadius: 0,
          pointHitRadius: 8,
          tension: 0.2,
        })),
      },
      options: {
        interaction: { mode: "index", intersect: false },
        scales: { x: { ...axis({ maxTicksLimit: 9, maxRotation: 0, autoSkipPadding: 14 }, false), title: { display: true, text: `start of each point, ${zoneOf(canvas)}`, color: colour("soft") } }, y: axis({ maxTicksLimit: 6 }, true) },
        plugins: { legend: { align: "end", labels: { color: colour("ink"), boxWidth: 18, boxHeight: 2 } } },
      },
    };
  }

  function bar(canvas) {
    return {
      type: "bar",
      data: {
        labels: labels(canvas),
        datasets: [{
          data: rows(canvas).map((row) => value(row.querySelector("[data-value]"))),
          backgroundColor: rows(canvas).map((row) => colour(`c-${row.dataset.series}`) || colour("c-FAILED")),
          maxBarThickness: 22,
        }],
      },
      options: {
        indexAxis: "y",
        scales: {
          x: axis({ maxTicksLimit: 4, maxRotation: 0, callback: (number) => COMPACT.format(number) }, true),
          y: { ...axis({ autoSkip: false }, false), afterFit: (scale) => { scale.width += 8; } }, // else the longest name is cut
        },
        plugins: { legend: { display: false } },
      },
    };
  }

  function gauge(canvas) {
    const [good, other] = rows(canvas).map((row) => value(row.querySelector("[data-value]")));
    const none = good + other === 0;
    return {
      type: "doughnut",
      data: {
        labels: ["Settled", "Ended otherwise"],
        datasets: [{
          data: none ? [0, 1] : [good, other],
          backgroundColor: [colour("c-SETTLED"), none ? colour("line") : colour("c-FAILED")],
          borderWidth: 0,
        }],
      },
      options: {
        circumference: 180, rotation: -90, cutout: "72%",
        plugins: { legend: { display: false }, tooltip: { enabled: !none } },
      },
    };
  }

  function axis(ticks, grid) {
    return {
      beginAtZero: true,
      border: { color: colour("line") },
      grid: { display: grid, color: colour("line") },
      ticks: { color: colour("soft"), precision: 0, ...ticks },
    };
  }

  const COMPACT = new Intl.NumberFormat("en-AU", { notation: "compact" });
  const KINDS = { doughnut: shares, line, bar, gauge };

  function draw(canvas, force) {
    const source = table(canvas);
    if (!source) return;
    const now = source.textContent;
    if (!force && drawn.get(canvas) === now) return;
    drawn.set(canvas, now);
    const wanted = KINDS[canvas.dataset.chart](canvas);
    const chart = charts.get(canvas);
    if (chart && !force) {
      chart.data.labels = wanted.data.labels;
      wanted.data.datasets.forEach((each, n) => Object.assign(chart.data.datasets[n], each));
      if (wanted.options.scales) chart.options.scales.x.title = wanted.options.scales.x.title || { display: false };
      chart.options.plugins.tooltip = wanted.options.plugins.tooltip || {};
      chart.update(still ? "none" : undefined);
      return;
    }
    if (chart) chart.destroy();
    const options = { responsive: true, maintainAspectRatio: false, ...wanted.options };
    if (still || force) options.animation = false;
    charts.set(canvas, new Chart(canvas, { ...wanted, options }));
  }

  function all(force) {
    document.querySelectorAll("canvas[data-chart]").forEach((canvas) => draw(canvas, force));
  }

  // Which of two tables a chart is drawn from.
  document.querySelectorAll(".switch button").forEach((button) => button.addEventListener("click", () => {
    const canvas = document.getElementById(button.parentElement.dataset.of);
    canvas.dataset.table = button.dataset.table;
    for (const each of button.parentElement.children) each.setAttribute("aria-pressed", String(each === button));
    draw(canvas, true);
    document.dispatchEvent(new CustomEvent("npp:span", { detail: button.value }));
  }));

  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  all(false);
  document.addEventListener("htmx:sseMessage", () => all(false));
  document.addEventListener("npp:zone", () => all(true));
  document.addEventListener("npp:theme", () => all(true));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all(true));
})();
