"use strict";
// Everything is in the page already. This hides rows, counts those that stay, and moves the focus.
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  // A page opened from a file may have no clipboard: then the text is selected and copied.
  const copied = async (line) => {
    if (navigator.clipboard) {
      try {
        await navigator.clipboard.writeText(line.textContent);
        return true;
      } catch {}
    }
    const selection = getSelection();
    selection.selectAllChildren(line);
    const done = document.execCommand("copy");
    if (done) selection.removeAllRanges();
    return done;
  };
  for (const line of document.querySelectorAll("code.command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${line.textContent}`);
    button.addEventListener("click", async (event) => {
      event.preventDefault();
      button.textContent = (await copied(line)) ? "Copied" : "Press Ctrl+C";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    line.after(button);
  }

  // Paper folds nothing out.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
    folded = [];
  });

  const open = () => {
    const row = location.hash && document.getElementById(location.hash.slice(1));
    if (row && row.tagName === "DETAILS") {
      row.hidden = row.parentElement.hidden = row.closest("section").hidden = false;
      row.open = true;
      row.scrollIntoView();
      row.firstElementChild.focus({ preventScroll: true });
    }
  };
  addEventListener("hashchange", open);
  open();

  const form = document.getElementById("filters");
  if (!form) return;
  form.hidden = false;
  const rows = [...document.querySelectorAll(".row")];
  const sections = [...document.querySelectorAll("main section")]
    .map((section) => ({ section, stacks: [...section.querySelectorAll(":scope > .stack")] }))
    .filter((one) => one.stacks.length);
  const shown = document.getElementById("shown");
  const nothing = document.getElementById("nothing");
  const search = form.elements.search;
  const chosen = (name) => (form.elements[name] ? form.elements[name].value : "");
  const number = (count) => count.toLocaleString("en");
  let texts = null;

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) texts ??= new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const [action, kind, cause] = ["action", "kind", "cause"].map(chosen);
    const trouble = form.elements.trouble && form.elements.trouble.checked;
    const fits = (row) =>
      (!action || row.dataset.action === action) &&
      (!kind || row.dataset.kind === kind) &&
      (!cause || (row.dataset.cause || "").split(" ").includes(cause)) &&
      (!trouble || row.dataset.trouble) &&
      words.every((word) => texts.get(row).includes(word));
    let total = 0;
    for (const { section, stacks } of sections) {
      let count = 0;
      let all = 0;
      for (const stack of stacks) {
        let stay = 0;
        for (const row of stack.children) {
          const stays = fits(row);
          if (row.hidden === stays) row.hidden = !stays;
          if (stays) stay += 1;
        }
        stack.hidden = !stay;
        stack.style.containIntrinsicBlockSize = `auto ${stay * 2.75}rem`;
        count += stay;
        all += stack.children.length;
      }
      total += count;
      section.hidden = !count;
      const of = count === all ? "" : ` of ${number(all)}`;
      section.querySelector(".count").textContent = number(count) + of;
    }
    shown.textContent = `${number(total)} of ${number(rows.length)}`;
    nothing.hidden = total > 0;
  };

  // The filters stand behind the #, where no server sees them: a link shows what its sender saw.
  const names = ["search", "action", "kind", "cause"];
  const keep = () => {
    const said = new URLSearchParams();
    for (const name of names) if (chosen(name)) said.set(name, chosen(name));
    if (form.elements.trouble && form.elements.trouble.checked) said.set("trouble", "1");
    const hash = `${said}`;
    if (hash || location.hash.includes("=")) {
      history.replaceState(null, "", `${location.pathname}${location.search}${hash && `#${hash}`}`);
    }
  };
  const restore = () => {
    if (!location.hash.includes("=")) return;
    const said = new URLSearchParams(location.hash.slice(1));
    for (const name of names) {
      const field = form.elements[name];
      if (!field) continue;
      field.value = said.get(name) || "";
      if (field.selectedIndex === -1) field.value = "";
    }
    if (form.elements.trouble) form.elements.trouble.checked = said.get("trouble") === "1";
  };
  const refilter = () => {
    filter();
    keep();
  };

  let waiting = 0;
  const soon = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(refilter);
  };
  const clear = () => {
    form.reset();
    refilter();
    search.focus();
  };
  form.addEventListener("input", soon);
  form.addEventListener("submit", (event) => event.preventDefault());
  nothing.querySelector("button").addEventListener("click", clear);
  // A browser brings back what was typed before a reload.
  addEventListener("pageshow", () => {
    restore();
    filter();
  });
  addEventListener("hashchange", () => {
    if (!location.hash.includes("=")) return;
    restore();
    filter();
  });

  const unfold = document.getElementById("unfold");
  unfold.addEventListener("click", () => {
    const opens = unfold.textContent === "Open all";
    for (const row of rows) if (!row.hidden && row.tagName === "DETAILS") row.open = opens;
    unfold.textContent = opens ? "Close all" : "Open all";
  });

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = document.activeElement;
    const typing = at && ["INPUT", "SELECT", "TEXTAREA"].includes(at.tagName);
    if (event.key === "/" && !typing) {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === "Escape" && at === search) {
      clear();
    } else if (["ArrowDown", "ArrowUp"].includes(event.key) && (at === search || (at && at.tagName === "SUMMARY"))) {
      const heads = rows.filter((row) => !row.hidden && row.tagName === "DETAILS").map((row) => row.firstElementChild);
      const next = heads.indexOf(at) + (event.key === "ArrowDown" ? 1 : -1);
      const head = next < 0 ? search : heads[next];
      if (head && !(at === search && event.key === "ArrowUp")) {
        event.preventDefault();
        head.focus();
      }
    }
  });
})();
