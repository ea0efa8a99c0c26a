"use strict";
// The server writes the whole page. This keeps the theme, submits filters and follows what is new.
(() => {
  document.getElementById("theme").addEventListener("click", () => {
    try {
      localStorage.setItem("theme", document.documentElement.dataset.theme);
    } catch {}
  });

  const form = document.querySelector("form.filters");
  if (form) {
    for (const select of form.querySelectorAll("select")) {
      select.addEventListener("change", () => form.requestSubmit());
    }
    // An empty filter needs no place in the address.
    form.addEventListener("submit", () => {
      for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
    });
    addEventListener("pageshow", () => {
      for (const field of form.elements) field.disabled = false;
    });
    addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      form.elements.q.focus();
      form.elements.q.select();
    });
  }

  // After an act its result is shown by itself: for two minutes, and as long as a run is under way.
  const ACTED = `acted ${location.pathname}`;
  const keepActed = () => {
    try {
      sessionStorage.setItem(ACTED, Date.now());
    } catch {}
  };
  const hasActed = () => {
    try {
      return Date.now() - sessionStorage.getItem(ACTED) < 120_000;
    } catch {
      return false;
    }
  };
  // What was done is said once, not at each reload.
  if (new URLSearchParams(location.search).has("done")) {
    keepActed();
    history.replaceState(null, "", location.pathname);
  }

  const offerAll = () => {
    for (const button of document.querySelectorAll(".held-form .all")) button.hidden = false;
  };
  offerAll();
  document.addEventListener("click", (event) => {
    if (!event.target.closest(".held-form .all")) return;
    const boxes = [...event.target.form.querySelectorAll("[type=checkbox]:enabled")];
    const chosen = boxes.some((box) => !box.checked);
    for (const box of boxes) box.checked = chosen;
  });

  document.addEventListener("submit", (event) => {
    const boxes = [...event.target.querySelectorAll("[type=checkbox]")];
    if (!boxes.length || boxes.some((box) => box.checked)) return;
    event.preventDefault();
    boxes[0].setCustomValidity("Select at least one row.");
    boxes[0].reportValidity();
    boxes[0].setCustomValidity("");
  });

  // Parts of the page are replaced by newer ones, but for what somebody reads with the keyboard or
  // has selected.
  const live = document.getElementById("live");
  live.hidden = false;
  const isFilledIn = (field) =>
    field.type === "checkbox" ? field.checked !== field.defaultChecked
      : field.type === "text" && field.value !== field.defaultValue;
  const isInUse = (part) => {
    if (part.querySelector("details[open]") || [...part.querySelectorAll("input")].some(isFilledIn)) return true;
    const selection = getSelection();
    const selected = selection.rangeCount && !selection.isCollapsed && selection.containsNode(part, true);
    return selected || part.contains(document.activeElement) || part.querySelector(":hover");
  };
  const isBusy = () => document.querySelector(".busy") !== null;
  let asking = 0;
  const follow = async () => {
    // A controller that answers slowly is asked no more than twice at once.
    if (document.hidden || asking > 1) return;
    asking += 1;
    let text;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) throw new Error("no page");
      // The session has ended, or begun in another tab.
      if (answer.redirected) return location.reload();
      text = await answer.text();
      live.textContent = "Updates automatically.";
    } catch {
      live.textContent = "The controller does not answer. This page may be out of date.";
      return;
    } finally {
      asking -= 1;
    }
    const newer = new DOMParser().parseFromString(text, "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = newer.querySelector(`[data-live="${part.dataset.live}"]`);
      if (other && other.outerHTML !== part.outerHTML && !isInUse(part)) part.replaceWith(other);
    }
    offerAll();
    document.title = newer.title;
    const run = document.querySelector("[data-run]");
    const newRun = newer.querySelector("[data-run]");
    if (hasActed() && isBusy()) keepActed();
    if (run && newRun && run.dataset.run !== newRun.dataset.run) {
      const fields = [...document.querySelectorAll("form[method=post] input")];
      if (hasActed() && !fields.some(isFilledIn)) return location.reload();
      document.getElementById("newer").hidden = false;
    }
  };
  // Each second while a result is awaited, for a while; else each ten.
  let seconds = 0;
  let quickRounds = 300;
  setInterval(() => {
    seconds += 1;
    const isSoon = (isBusy() || hasActed()) && quickRounds-- > 0;
    if (isSoon || seconds % 10 === 0) follow();
  }, 1_000);
  document.addEventListener("visibilitychange", follow);
})();
