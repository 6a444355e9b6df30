// Times in the chosen zone, colours, the search key, copy buttons, countdowns, how live a page is, and
// the focus and text that a live update must not take away.
(function () {
  "use strict";
  const ZONES = { sydney: "Australia/Sydney", utc: "UTC", local: undefined };
  const STALE_MS = 5000;
  const THEMES = { auto: ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };
  const byId = (id) => document.getElementById(id);

  // -- times ---------------------------------------------------------------------------------
  // An address that names a zone shows it so to everybody; a choice is kept, and named in the address.
  let zone = new URLSearchParams(location.search).get("zone") || localStorage.getItem("npp-zone") || "sydney";
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
    inAddress("zone", name);
    format = formats(name);
    writeTimes(document);
    document.dispatchEvent(new CustomEvent("npp:zone"));
  }

  function inAddress(name, value) {
    const address = new URL(location.href);
    address.searchParams.set(name, value);
    history.replaceState(history.state, "", address);
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
  let behindMs = 0; // null: not known, because Kafka does not answer
  let heardAt = 0; // performance.now() of the last tick
  let dataAt = null;
  let wasLive = null;

  function heard() {
    const tick = document.querySelector("[data-tick]");
    if (!tick) return;
    behindMs = tick.dataset.behindMs === "" ? null : Number(tick.dataset.behindMs);
    dataAt = new Date(tick.dataset.at);
    heardAt = performance.now();
    showLive();
  }

  function showLive() {
    const place = byId("live");
    if (!place || dataAt === null) return;
    const silent = performance.now() - heardAt;
    const seconds = (behindMs + silent) / 1000;
    const live = behindMs !== null && seconds * 1000 < STALE_MS;
    const since = `data from ${clockOf(dataAt)} ${zoneName(dataAt)}`;
    let text = `${live ? "live" : "not live"}, ${seconds.toFixed(live ? 1 : 0)} s behind`;
    if (silent >= STALE_MS) text = `reconnecting, ${since}`;
    else if (behindMs === null) text = `age unknown, Kafka does not answer; ${since}`;
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
    try {
      if (button.dataset.copyForm) await navigator.clipboard.write([commandOf(button)]);
      else await navigator.clipboard.writeText(button.dataset.copy || byId(button.dataset.copyFrom).textContent);
      say("Copied.");
      button.dataset.done = "yes";
      setTimeout(() => delete button.dataset.done, 1500);
    } catch {
      say(button.dataset.copyForm ? "Fill in the form first, or load the page again." : "The browser did not allow to copy.");
    }
  }

  // The command that does what the form would do, as it is filled in now: the server makes it, and quotes it.
  // A promise, because some browsers let only the click itself begin to write.
  function commandOf(button) {
    const fields = new URLSearchParams(new FormData(button.form));
    fields.set("as", button.dataset.copyForm);
    if (button.name) fields.set(button.name, button.value);
    const answer = fetch(`${button.form.getAttribute("action")}/command`, { method: "POST", body: fields });
    const command = answer.then(async (found) => {
      if (!found.ok) throw new Error(String(found.status));
      return new Blob([await found.text()], { type: "text/plain" });
    });
    return new ClipboardItem({ "text/plain": command });
  }

  // -- what a live update leaves alone -------------------------------------------------------
  const FIELDS = "textarea, input[type=text], input:not([type])";
  let focused = null; // tag, name and number of what had the focus in a part that is exchanged

  const nameOf = (each) => each.id || each.getAttribute("href") || each.dataset.copy || each.textContent;
  const alike = (tag, name) => [...document.querySelectorAll(tag)].filter((each) => nameOf(each) === name);

  function keepFocus(event) {
    const has = document.activeElement;
    if (!has || has === document.body || !event.target.contains(has)) return;
    const [tag, name] = [has.tagName, nameOf(has)];
    focused = { tag, name, number: alike(tag, name).indexOf(has) };
  }

  function giveFocusBack() {
    if (focused === null) return;
    const { tag, name, number } = focused;
    focused = null;
    if (document.activeElement !== document.body) return;
    const found = alike(tag, name);
    const again = found[number] || found[0];
    if (again) again.focus({ preventScroll: true });
  }

  function isWritten(place) {
    return [...place.querySelectorAll(FIELDS)].some((each) => each.value || each === document.activeElement);
  }

  function noteChange() {
    const note = document.querySelector(".changed");
    if (note) note.hidden = false;
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
    const button = event.target.closest("[data-copy],[data-copy-from],[data-copy-form]");
    if (button) copy(button);
  });
  document.addEventListener("npp:span", (event) => inAddress("span", event.detail));
  document.addEventListener("htmx:sseBeforeMessage", keepFocus);
  document.addEventListener("htmx:sseMessage", (event) => {
    writeTimes(event.target);
    giveFocusBack();
    if (event.detail.type === "tick") heard();
  });
  // What somebody is writing is not swapped away: a note says that the payment has moved on.
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const place = event.target;
    if (!isWritten(place) && !place.contains(document.activeElement)) return;
    event.detail.shouldSwap = false;
    noteChange();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (isWritten(event.detail.target)) {
      event.detail.shouldSwap = false;
      noteChange();
    } else {
      keepFocus(event);
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    writeTimes(event.target);
    giveFocusBack();
    countDown();
  });
  writeTimes(document);
  document.dispatchEvent(new CustomEvent("npp:zone")); // charts that were drawn before now
  heard();
  countDown();
  setInterval(() => {
    showLive();
    countDown();
  }, 500);
})();
