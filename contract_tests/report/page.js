/**
 * The report: a matrix of clauses and targets, a page for each clause, and the code of both
 * services side by side.
 *
 * All that it shows stands in `data`, which the generator wrote into the page; where one is, in
 * the URL's hash: `#matrix?q=etag&group=COND`, `#HTTP-01`, `#HTTP-01/code`, `#read`, `#read/app`,
 * `#read/app/create_app`, `#read/app/python:30-44`.
 *
 * @typedef {"python" | "node"} Side
 * @typedef {[proven: number, all: number]} Share
 * @typedef {Record<string, Share>} Shares By target; one that was not asked is missing.
 * @typedef {[file: string, first: number, last: number]} Excerpt
 *
 * @typedef {object} Test
 * @property {string} name
 * @property {string} file
 * @property {number} line
 * @property {Shares} cells
 * @property {string} doc
 *
 * @typedef {object} Mutant
 * @property {string} name
 * @property {string} what
 * @property {boolean | null} python Whether it was killed; null where it was not run.
 * @property {boolean | null} node
 *
 * @typedef {object} Example
 * @property {string} test
 * @property {string[]} targets
 * @property {[kind: "q" | "f" | "s" | "h" | "b", ...lines: number[]][]} rows
 *   Per row one index of `lines` for each target, -1 for nothing.
 *
 * @typedef {object} Clause
 * @property {string} text HTML
 * @property {Shares} cells
 * @property {Test[]} tests
 * @property {Mutant[]} mutants
 * @property {Example[]} examples
 * @property {Record<Side | "common", Excerpt[]>} code
 *
 * @typedef {object} Group
 * @property {string} name
 * @property {string} title
 * @property {string} intro HTML
 * @property {string[]} clauses
 *
 * @typedef {object} Section
 * @property {string} title
 * @property {[first: number, last: number] | null} python
 * @property {[first: number, last: number] | null} node
 *
 * @typedef {object} Pair
 * @property {string} python
 * @property {string} node
 * @property {string} what HTML
 * @property {Section[]} sections
 *
 * @typedef {object} Data
 * @property {string} made
 * @property {[name: string, version: string][]} versions
 * @property {[number: string, label: string, small: string][]} numbers
 * @property {string[]} targets
 * @property {Record<string, string>} about
 * @property {Group[]} groups
 * @property {Record<string, Clause>} clauses
 * @property {string[]} lines HTML
 * @property {Record<string, string[]>} files HTML, line by line
 * @property {string} walk HTML
 * @property {Pair[]} read
 *
 * @typedef {{hash: string, name: string}} Link
 *
 * @typedef {object} Shown What a view has put on the screen.
 * @property {string} title
 * @property {HTMLElement} focus
 * @property {HTMLElement | null} [aim] What to scroll to, if not to the top.
 */

const NAME = "Two backends, one contract";
/** @type {Record<Side, string>} */
const LANGUAGES = { python: "Python", node: "TypeScript" };
/** @type {Side[]} */
const SIDES = ["python", "node"];

const CLAUSE_IDS = /([A-Z]+(?:-[A-Z]+)*-\d\d+)/;
const SENTENCE_END = /[.…](?=\s+\p{Lu})/u;
const INDENT = /^ */;
const BREAKS = /(?<=[-_/:])/;
const AFTER_FILE = /::(.*)/;
const AT_QUERY = /\?(.*)/;
const EXTENSION = /\.\w+$/;
const NOT_FOR_A_SLUG = /[^\w.-]+/g;
const WHITE_SPACE = /\s+/;
/** The classes that pygments gives to comments and docstrings. */
const COMMENTS = ".c, .c1, .ch, .cm, .cp, .cs, .sd";
const LINES = /^(python|node):(\d+)(?:-(\d+))?$/;

/** @type {Data} */
const data = await unpacked(byId("data").textContent);
const ids = data.groups.flatMap((group) => group.clauses);

/**
 * The JSON that was packed by gzip and base64.
 *
 * @param {string} packed
 * @returns {Promise<Data>}
 */
function unpacked(packed) {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const text = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(text).json();
}

// ---------------------------------------------------------------------------------- elements

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
function byId(id) {
  const element = document.getElementById(id);
  if (!element) {
    throw new Error(`There is no #${id}.`);
  }
  return element;
}

/** @typedef {Node | string | number | null} Child */

/**
 * An element. Attributes that are null or false are left out, children that are null too.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number | boolean | null>} attributes
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[T]}
 */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children.flat()) {
    if (child !== null) {
      element.append(typeof child === "number" ? String(child) : child);
    }
  }
  return element;
}

/**
 * Put HTML into an element: only what `data` calls HTML, which the generator has escaped.
 *
 * @template {HTMLElement} T
 * @param {T} element
 * @param {string} html
 * @returns {T}
 */
function fill(element, html) {
  element.innerHTML = html;
  return element;
}

/**
 * @param {HTMLElement} element
 * @returns {Text[]}
 */
function textNodes(element) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) {
    nodes.push(/** @type {Text} */ (walker.currentNode));
  }
  return nodes;
}

/**
 * A part of a view, under a heading that one can jump to.
 *
 * @param {string} part
 * @param {string} title
 * @param {...(Child | Child[])} children
 */
function block(part, title, ...children) {
  const head = make("h2", { tabindex: -1, id: `part-${part}` }, title);
  return make(
    "section",
    { class: "block", "data-part": part, "aria-labelledby": head.id },
    head,
    ...children,
  );
}

/** @param {string} text */
function unseen(text) {
  return make("span", { class: "unseen" }, text);
}

/**
 * @param {number} count
 * @param {string} noun
 */
function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * A name that may be broken at its marks.
 *
 * @param {string} name
 * @returns {Child[]}
 */
function breakable(name) {
  return name.split(BREAKS).flatMap((piece, i) => (i ? [make("wbr"), piece] : [piece]));
}

// ------------------------------------------------------------------------------------ shares

/**
 * The heads of the targets' columns.
 *
 * @param {string} first The head of the first column.
 */
function headOfShares(first) {
  const heads = data.targets.map((target) => {
    const title = data.about[target] ?? null;
    const words = target.split("-").flatMap((word, i) => (i ? [make("br"), word] : [word]));
    return make("th", { class: "target", scope: "col", "data-target": target, title }, words);
  });
  return make("thead", {}, make("tr", {}, make("th", { scope: "col" }, first), heads));
}

/**
 * A cell for each target. Marks, and the words that stand for them, are the style sheet's.
 *
 * @param {Shares} shares
 */
function cellsOf(shares) {
  return data.targets.map((target) => {
    const [proven, all] = shares[target] ?? [0, 0];
    if (all === 0) {
      return make("td", { class: "unasked", "data-target": target });
    }
    const state = proven === all ? "full" : "part";
    const of = make("span", {}, `/${all}`);
    return make("td", { class: state, "data-target": target }, make("span", {}, proven, of));
  });
}

/**
 * Name the parts of a table for what they are: where a narrow screen's style takes tables apart,
 * some browsers would no longer know.
 *
 * @param {HTMLTableElement} table
 */
function withRoles(table) {
  /** @type {Record<string, string>} */
  const roles = { THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };
  table.setAttribute("role", "table");
  for (const part of table.querySelectorAll("thead, tbody, tr, td, th")) {
    const head = part.getAttribute("scope") === "col" ? "columnheader" : "rowheader";
    part.setAttribute("role", roles[part.tagName] ?? head);
  }
  return table;
}

/**
 * Whether this run asked for it at all: other runs do, of what takes Docker, say.
 *
 * @param {Clause} clause
 */
function isAsked(clause) {
  return Object.values(clause.cells).some(([, all]) => all > 0);
}

/**
 * Whether anything of what was asked is not proven.
 *
 * @param {Clause} clause
 */
function isOpen(clause) {
  return Object.values(clause.cells).some(([proven, all]) => proven < all);
}

/**
 * @param {Shares[]} several
 * @returns {Shares}
 */
function sum(several) {
  /** @type {Shares} */
  const total = {};
  for (const [target, [proven, all]] of several.flatMap((shares) => Object.entries(shares))) {
    const [provenSoFar, allSoFar] = total[target] ?? [0, 0];
    total[target] = [provenSoFar + proven, allSoFar + all];
  }
  return total;
}

// ------------------------------------------------------------------------------------ matrix

/** Where all is drawn that is not the matrix. */
const pageView = byId("page-view");
const matrixView = byId("matrix-view");
const matrixTitle = byId("matrix-title");
const toMatrix = /** @type {HTMLAnchorElement} */ (byId("to-matrix"));
const search = /** @type {HTMLInputElement} */ (byId("search"));
const groupChoice = /** @type {HTMLSelectElement} */ (byId("group"));
const openOnly = /** @type {HTMLInputElement} */ (byId("open"));

/**
 * The matrix' rows: what is seen of a clause, and what is searched.
 *
 * @type {Map<string, {row: HTMLElement, link: HTMLElement, words: string, group: string}>}
 */
const rows = new Map();

/** The clauses that the filters leave, in their order. */
let matching = ids;

function makeMatrix() {
  const asked = ids.filter((id) => isAsked(data.clauses[id])).length;
  const open = ids.filter((id) => isOpen(data.clauses[id])).length;
  const share = Math.floor((100 * (asked - open)) / Math.max(asked, 1));
  const all = open ? `${asked - open} of ${asked}` : `all ${asked}`;
  matrixTitle.textContent = `${share} % proven: ${all} clauses that this run asks`;
  const unasked = `${ids.length - asked}`;
  const numbers = [...data.numbers, [unasked, "clauses not asked", "by this run, and not counted"]];
  for (const [number, label, small] of numbers) {
    const item = make("li", {}, make("strong", {}, number), " ", label, make("small", {}, small));
    byId("numbers").append(item);
  }
  const table = /** @type {HTMLTableElement} */ (byId("shares"));
  table.append(headOfShares("Clause"));
  for (const group of data.groups) {
    groupChoice.append(make("option", { value: group.name }, group.title));
    const total = cellsOf(sum(group.clauses.map((id) => data.clauses[id].cells)));
    const head = make("th", { scope: "rowgroup" }, group.title);
    const body = make("tbody", {}, make("tr", { class: "group" }, head, total));
    body.append(...group.clauses.map((id) => matrixRow(id, group.name)));
    table.append(body);
  }
  withRoles(table);
}

/**
 * @param {string} id
 * @param {string} group
 */
function matrixRow(id, group) {
  const clause = data.clauses[id];
  const text = textOf(clause.text);
  const words = [id, text.textContent, ...clause.tests.map((test) => test.name)];
  const name = make("span", { class: "id" }, id);
  const link = make("a", { class: "row-link", href: `#${id}` }, name, " ", sentenceOf(text));
  const head = make("th", { scope: "row" }, link);
  const row = make("tr", { "data-clause": id }, head, cellsOf(clause.cells));
  rows.set(id, { row, link, words: words.join(" ").toLowerCase(), group });
  return row;
}

/**
 * A clause's text, its paragraphs: the rule itself, then reasons and exceptions.
 *
 * @param {string} html
 */
function textOf(html) {
  const text = fill(make("div", { class: "text" }), html);
  const rule = make("p");
  while (text.firstChild && !(text.firstChild instanceof HTMLParagraphElement)) {
    rule.append(text.firstChild);
  }
  if (rule.textContent.trim()) {
    text.prepend(rule);
  }
  return text;
}

/**
 * A clause's first sentence.
 *
 * @param {HTMLElement} text
 */
function sentenceOf(text) {
  const rule = text.querySelector("p")?.childNodes ?? [];
  const sentence = make("span", { class: "sentence" }, ...rule);
  const end = SENTENCE_END.exec(sentence.textContent);
  if (end) {
    cut(sentence, end.index + 1);
  }
  return sentence;
}

/**
 * Shorten what an element says to so many characters.
 *
 * @param {HTMLElement} element
 * @param {number} length
 */
function cut(element, length) {
  let left = length;
  for (const node of textNodes(element)) {
    node.data = node.data.slice(0, left);
    left -= node.length;
  }
}

/** The hash of the matrix as it is filtered. */
function matrixHash() {
  const query = new URLSearchParams();
  if (search.value.trim()) {
    query.set("q", search.value.trim());
  }
  if (groupChoice.value) {
    query.set("group", groupChoice.value);
  }
  if (openOnly.checked) {
    query.set("open", "1");
  }
  return query.size ? `#matrix?${query}` : "#matrix";
}

/** Show the rows that the filters leave. */
function filter() {
  const wanted = search.value.toLowerCase().split(WHITE_SPACE);
  const found = new Set();
  matching = [];
  for (const [id, { row, words, group }] of rows) {
    const matches =
      wanted.every((word) => words.includes(word)) &&
      (!groupChoice.value || group === groupChoice.value) &&
      (!openOnly.checked || isOpen(data.clauses[id]));
    row.hidden = !matches;
    if (matches) {
      matching.push(id);
      found.add(row.parentElement);
    }
  }
  for (const body of byId("shares").querySelectorAll("tbody")) {
    body.hidden = !found.has(body);
  }
  byId("nothing").hidden = matching.length > 0;
  byId("count").textContent = `${matching.length} of ${counted(ids.length, "clause")}`;
  toMatrix.href = matrixHash();
}

/** After somebody changed a filter: the URL keeps it, without a step of the history for each. */
function filterAnew() {
  filter();
  history.replaceState(history.state, "", matrixHash());
  shown = location.hash;
}

function clearFilters() {
  search.value = "";
  groupChoice.value = "";
  openOnly.checked = false;
  filterAnew();
  search.focus();
}

/**
 * @param {string} query
 * @returns {Shown}
 */
function showMatrix(query) {
  const filters = new URLSearchParams(query);
  search.value = filters.get("q") ?? "";
  groupChoice.value = filters.get("group") ?? "";
  if (groupChoice.selectedIndex < 0) {
    groupChoice.value = "";
  }
  openOnly.checked = filters.get("open") === "1";
  filter();
  const row = rows.get(lastClause);
  return { title: NAME, focus: row && !row.row.hidden ? row.link : matrixTitle };
}

// ------------------------------------------------------------------------------------- steps

/**
 * The bar that leads back and on.
 *
 * @param {string} label
 * @param {Link} back
 * @param {Link | null} previous
 * @param {string} place
 * @param {Link | null} next
 */
function stepsBar(label, back, previous, place, next) {
  /**
   * @param {"prev" | "next"} rel
   * @param {Link | null} to
   */
  const step = (rel, to) =>
    to &&
    make("a", { rel, href: to.hash, "aria-keyshortcuts": rel === "next" ? "j" : "k" }, to.name);
  return make(
    "nav",
    { class: "steps", "aria-label": label },
    make("a", { class: "back", href: back.hash }, back.name),
    make("span", { class: "place" }, place),
    step("prev", previous),
    step("next", next),
  );
}

// ------------------------------------------------------------------------------------ clause

/** The clause whose page was last seen: the row to come back to. */
let lastClause = "";

/**
 * @param {string} id
 * @param {string} part
 * @returns {Shown}
 */
function showClause(id, part) {
  drawPage(id, () => clausePage(id));
  // The filters may be others than they were.
  pageView.firstElementChild?.replaceWith(clauseSteps(id));
  lastClause = id;
  const aim = part
    ? /** @type {HTMLElement | null} */ (document.getElementById(`part-${part}`))
    : null;
  return { title: `${id} · ${NAME}`, focus: aim ?? heading(), aim };
}

/** @param {string} id */
function clausePage(id) {
  const clause = data.clauses[id];
  const group = data.groups.find(({ clauses }) => clauses.includes(id));
  const parts = [testsOf(clause), mutantsOf(clause), exchangesOf(clause), codeOf(clause)];
  const jumps = parts.map((part) => {
    const title = part.querySelector("h2")?.textContent ?? "";
    return make("a", { href: `#${id}/${part.dataset.part}` }, title);
  });
  const intro = group?.intro
    ? make(
        "details",
        { class: "intro" },
        make("summary", {}, `About the group ${group.name}`),
        linkClauses(fill(make("div"), group.intro)),
      )
    : null;
  return [
    clauseSteps(id),
    make(
      "header",
      { class: "about" },
      make("p", { class: "eyebrow" }, group?.title ?? ""),
      make("h1", { class: "name", tabindex: -1 }, id),
      linkClauses(textOf(clause.text)),
      intro,
      make("nav", { class: "jumps", "aria-label": `Parts of ${id}` }, jumps),
    ),
    ...parts,
  ];
}

/**
 * Steps lead through what the matrix shows, if this clause is among it.
 *
 * @param {string} id
 */
function clauseSteps(id) {
  const filtered = matching.length < ids.length && matching.includes(id);
  const list = filtered ? matching : ids;
  const index = list.indexOf(id);
  /** @param {number} i */
  const step = (i) => (list[i] ? { hash: `#${list[i]}`, name: list[i] } : null);
  const place = `${index + 1} of ${list.length}${filtered ? " filtered" : ""}`;
  const back = { hash: matrixHash(), name: "Matrix" };
  return stepsBar("Clauses", back, step(index - 1), place, step(index + 1));
}

/** @param {Clause} clause */
function testsOf(clause) {
  if (!clause.tests.length) {
    return block("tests", "Tests", make("p", { class: "quiet" }, "No test names this clause."));
  }
  const total = make(
    "tr",
    { class: "group" },
    make("th", { scope: "row" }, "All cases"),
    cellsOf(clause.cells),
  );
  const tests = clause.tests.map((test) => {
    const [, name = test.name] = test.name.split(AFTER_FILE);
    const head = make(
      "th",
      { scope: "row" },
      make("span", { class: "name" }, breakable(name)),
      make("span", { class: "where" }, breakable(`${test.file}:${test.line}`)),
      test.doc ? make("span", { class: "doc" }, test.doc) : null,
    );
    return make("tr", { "data-test": test.name }, head, cellsOf(test.cells));
  });
  const table = make(
    "table",
    { class: "shares" },
    make("caption", { class: "unseen" }, "Cases proven of all cases, by test and target"),
    headOfShares("Test"),
    make("tbody", {}, total, tests),
  );
  return block("tests", counted(clause.tests.length, "test"), withRoles(table));
}

/** @param {Clause} clause */
function mutantsOf(clause) {
  const { mutants } = clause;
  if (!mutants.length) {
    const none = "No fault is planted against this clause in particular.";
    return block("mutants", "Mutants", make("p", { class: "quiet" }, none));
  }
  /** @param {boolean | null} killed */
  const verdict = (killed) => {
    if (killed === null) {
      return make("td", { class: "verdict unasked" }, "not run");
    }
    return make(
      "td",
      { class: `verdict ${killed ? "full" : "part"}` },
      make("span", {}, killed ? "killed" : "survived"),
    );
  };
  const body = mutants.map((mutant) =>
    make(
      "tr",
      { "data-mutant": mutant.name },
      make(
        "th",
        { scope: "row" },
        mutant.what,
        make("span", { class: "name where" }, breakable(mutant.name)),
      ),
      SIDES.map((side) => verdict(mutant[side])),
    ),
  );
  const heads = ["What is broken on purpose", ...SIDES.map((side) => LANGUAGES[side])];
  const table = make(
    "table",
    { class: "verdicts" },
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        heads.map((name) => make("th", { scope: "col" }, name)),
      ),
    ),
    make("tbody", {}, body),
  );
  return block("mutants", counted(mutants.length, "mutant"), table);
}

// --------------------------------------------------------------------------------- exchanges

/** Targets whose columns are taken out of sight, on every clause's page. */
/** @type {Set<string>} */
const hiddenTargets = new Set();

/** @param {Clause} clause */
function exchangesOf(clause) {
  const { examples } = clause;
  if (!examples.length) {
    const none = "No exchange of this clause was recorded.";
    return block("wire", "On the wire", make("p", { class: "quiet" }, none));
  }
  let shown = examples[0];
  const place = make("div", { class: "scroll", role: "region", tabindex: 0 });
  const targets = make("fieldset", { class: "targets" });

  function drawExample() {
    place.replaceChildren(exchange(shown));
    place.setAttribute("aria-label", `Exchange of ${shown.test}`);
    targets.replaceChildren(make("legend", { class: "unseen" }, "Targets to show"));
    for (const target of shown.targets) {
      const checked = !hiddenTargets.has(target);
      const box = make("input", { type: "checkbox", name: "target", value: target, checked });
      targets.append(make("label", { title: data.about[target] ?? null }, box, " ", target));
    }
  }
  targets.addEventListener("change", (event) => {
    const box = /** @type {HTMLInputElement} */ (event.target);
    if (box.checked) {
      hiddenTargets.delete(box.value);
    } else {
      hiddenTargets.add(box.value);
    }
    place.replaceChildren(exchange(shown));
  });

  const choice = make(
    "fieldset",
    { class: "choice" },
    make("legend", { class: "unseen" }, "Example"),
  );
  for (const [i, example] of examples.entries()) {
    const radio = make("input", { type: "radio", name: "example", value: i, checked: i === 0 });
    radio.addEventListener("change", () => {
      shown = example;
      drawExample();
    });
    const [, name = example.test] = example.test.split(AFTER_FILE);
    choice.append(make("label", { title: example.test }, radio, make("span", {}, name)));
  }
  drawExample();
  const legend = make(
    "p",
    { class: "legend" },
    make("span", {}, make("span", { class: "mark" }, "="), " the same everywhere"),
    make(
      "span",
      {},
      make("span", { class: "mark" }, "~"),
      " ",
      make("i", {}, "may differ"),
      ": generated, or outside the contract",
    ),
    make(
      "span",
      {},
      make("span", { class: "mark wrong" }, "≠"),
      " ",
      make("b", {}, "differs"),
      ", and must not",
    ),
  );
  return block("wire", "On the wire", choice, targets, place, legend);
}

/** @param {Example} example */
function exchange(example) {
  const columns = [...example.targets.keys()].filter((i) => !hiddenTargets.has(example.targets[i]));
  const heads = columns.map((i) => {
    const target = example.targets[i];
    return make(
      "th",
      { class: "column", scope: "col" },
      target,
      make("small", {}, data.about[target] ?? ""),
    );
  });
  const first = make("th", { class: "gutter", scope: "col" }, unseen("Compared"));
  const table = make("table", { class: "wire" }, make("thead", {}, make("tr", {}, first, heads)));
  const exchanges = example.rows.filter(([kind]) => kind === "q").length;
  let number = 0;
  let body = make("tbody");
  for (const [kind, ...indexes] of example.rows) {
    if (kind === "q" || kind === "s") {
      number += kind === "q" ? 1 : 0;
      const what = kind === "q" ? "Request" : "Answer";
      const title = exchanges > 1 ? `${what} ${number}` : what;
      const head = make(
        "th",
        { scope: "rowgroup", colspan: columns.length + 1 },
        make("span", {}, title),
      );
      body = make("tbody", { class: what.toLowerCase() }, make("tr", { class: "title" }, head));
      table.append(body);
    }
    const cells = columns.map((i) =>
      indexes[i] < 0
        ? make("td", { class: "empty" }, "nothing")
        : fill(make("td"), data.lines[indexes[i]]),
    );
    body.append(make("tr", { class: `line-${kind}` }, compared(indexes), cells));
  }
  return table;
}

/**
 * The mark of a row: whether the targets agree in it.
 *
 * @param {number[]} indexes
 */
function compared(indexes) {
  const [mark, words] = comparison(indexes);
  const seen = make("span", { "aria-hidden": "true" }, mark);
  const state = mark === "≠" ? "mark gutter wrong" : "mark gutter";
  return make("th", { class: state, scope: "row", title: words }, seen, unseen(words));
}

/**
 * @param {number[]} indexes
 * @returns {[mark: string, words: string]}
 */
function comparison(indexes) {
  if (indexes.some((i) => data.lines[i]?.includes("<b>"))) {
    return ["≠", "differs, and must not"];
  }
  if (new Set(indexes).size > 1 || data.lines[indexes[0]]?.includes("<i>")) {
    return ["~", "may differ: generated, or outside the contract"];
  }
  return ["=", "the same everywhere"];
}

// -------------------------------------------------------------------------------------- code

/** Where a file is read: its pair's place in the tour, and its side. */
/** @type {Map<string, {slug: string, side: Side}>} */
const placeOf = new Map();
for (const pair of data.read) {
  for (const side of SIDES) {
    placeOf.set(pair[side], { slug: slugOf(pair), side });
  }
}

/** @param {Clause} clause */
function codeOf(clause) {
  const { python, node, common } = clause.code;
  if (!(python.length || node.length || common.length)) {
    const none = "No code names this clause.";
    return block("code", "In the code", make("p", { class: "quiet" }, none));
  }
  const sides = SIDES.map((side) => {
    const excerpts = clause.code[side].map((excerpt) => excerptOf(excerpt, LANGUAGES[side]));
    const none = make("p", { class: "quiet" }, `No ${LANGUAGES[side]} names it.`);
    return make("div", { "data-side": side }, excerpts.length ? excerpts : none);
  });
  return block(
    "code",
    "In the code",
    python.length || node.length ? make("div", { class: "sides" }, sides) : null,
    common.map((excerpt) => excerptOf(excerpt, "Both")),
  );
}

/**
 * @param {Excerpt} excerpt
 * @param {string} label
 */
function excerptOf([file, first, last], label) {
  const name = `${file}:${first}${last > first ? `–${last}` : ""}`;
  const place = placeOf.get(file);
  const lines = last > first ? `${first}-${last}` : first;
  const title = place
    ? make("a", { href: `#read/${place.slug}/${place.side}:${lines}` }, breakable(name))
    : make("span", {}, breakable(name));
  return make(
    "figure",
    { class: "excerpt" },
    make("figcaption", {}, make("span", { class: "language" }, label), " ", title),
    linesOf(file, [first, last]),
  );
}

/**
 * Lines of a file with their numbers, and with links to the clauses that comments name.
 *
 * @param {string} file
 * @param {[first: number, last: number]} range
 */
function linesOf(file, [first, last]) {
  const lines = (data.files[file] ?? []).slice(first - 1, last).map((html, i) => {
    const code = fill(make("code"), html);
    // What doesn't fit is continued a little to the right of where it began.
    code.style.setProperty("--indent", `${INDENT.exec(code.textContent)?.[0].length ?? 0}ch`);
    for (const comment of code.querySelectorAll(COMMENTS)) {
      linkClauses(/** @type {HTMLElement} */ (comment));
    }
    return make("span", { class: "line", "data-line": first + i }, code);
  });
  return make("pre", { class: "code" }, lines);
}

/**
 * Make links of the clauses that a text names.
 *
 * @template {HTMLElement} T
 * @param {T} element
 * @returns {T}
 */
function linkClauses(element) {
  for (const node of textNodes(element)) {
    const pieces = node.data.split(CLAUSE_IDS);
    const linked = pieces.map((piece) =>
      Object.hasOwn(data.clauses, piece) ? make("a", { href: `#${piece}` }, piece) : piece,
    );
    if (linked.length > 1) {
      node.replaceWith(...linked);
    }
  }
  return element;
}

// -------------------------------------------------------------------------------------- tour

/**
 * A pair's name in URLs: the Python file's, without its folder and its extension.
 *
 * @param {Pair} pair
 */
function slugOf(pair) {
  return pair.python.slice(pair.python.indexOf("/") + 1).replace(EXTENSION, "");
}

/**
 * A pair's sections by their names in URLs: the name of the first half, which a number follows
 * where it stands there already.
 *
 * @param {Pair} pair
 * @returns {Map<string, Section>}
 */
function sectionsOf(pair) {
  /** @type {Map<string, Section>} */
  const sections = new Map();
  for (const section of pair.sections) {
    const name = section.title.split(" · ")[0].replaceAll(NOT_FOR_A_SLUG, "-");
    sections.set(sections.has(name) ? `${name}-${sections.size}` : name, section);
  }
  return sections;
}

/** @returns {Shown} */
function showTour() {
  const items = data.read.map((pair) => {
    const link = make(
      "a",
      { href: `#read/${slugOf(pair)}` },
      SIDES.map((side) => make("span", {}, breakable(pair[side]))),
    );
    return make("li", {}, link, fill(make("p"), pair.what));
  });
  drawPage("read", () => [
    make("h1", { class: "page-title", tabindex: -1 }, "Side by side"),
    make("section", { class: "walk" }, [
      make("h2", {}, "One request, through both"),
      fill(make("div"), data.walk),
    ]),
    make("h2", {}, "All files"),
    make(
      "p",
      { class: "lede" },
      "Each file and its twin: the same parts in the same order under the same names.",
    ),
    make("ol", { class: "tour" }, items),
  ]);
  return { title: `Read · ${NAME}`, focus: heading() };
}

/**
 * @param {Pair} pair
 * @param {string} place A section's slug, or `python:30-44`, or nothing.
 * @returns {Shown}
 */
function showPair(pair, place) {
  const slug = slugOf(pair);
  drawPage(`read/${slug}`, () => pairPage(pair));
  const tour = pageView.querySelector(".contents");
  const here = tour?.querySelector("[aria-current]");
  if (tour instanceof HTMLElement && here instanceof HTMLElement) {
    tour.scrollTop = here.offsetTop - tour.clientHeight / 4;
  }
  for (const line of pageView.querySelectorAll(".aim")) {
    line.classList.remove("aim");
  }
  const title = `${slug} · ${NAME}`;
  const lines = LINES.exec(place);
  if (lines) {
    const [, side, first, last = first] = lines;
    const aimed = [...pageView.querySelectorAll(`[data-side="${side}"] .line`)].filter((line) => {
      const number = Number(/** @type {HTMLElement} */ (line).dataset.line);
      return Number(first) <= number && number <= Number(last);
    });
    for (const line of aimed) {
      line.classList.add("aim");
    }
    const aim = /** @type {HTMLElement | undefined} */ (aimed[0]);
    const section = /** @type {HTMLElement | null | undefined} */ (
      aim?.closest("section")?.querySelector("h2")
    );
    return { title, focus: section ?? heading(), aim };
  }
  const section = place
    ? /** @type {HTMLElement | null} */ (document.getElementById(`part-${place}`))
    : null;
  return { title, focus: section ?? heading(), aim: section };
}

/** @param {Pair} pair */
function pairPage(pair) {
  const index = data.read.indexOf(pair);
  /** @param {Pair | undefined} to */
  const step = (to) => (to ? { hash: `#read/${slugOf(to)}`, name: slugOf(to) } : null);
  const steps = stepsBar(
    "Files",
    { hash: "#read", name: "All files" },
    step(data.read[index - 1]),
    `${index + 1} of ${data.read.length}`,
    step(data.read[index + 1]),
  );
  const heads = SIDES.map((side) =>
    make(
      "p",
      {},
      make("span", { class: "language" }, LANGUAGES[side]),
      " ",
      make("span", {}, breakable(pair[side])),
    ),
  );
  const main = make(
    "div",
    { class: "pair" },
    make("h1", { class: "page-title", tabindex: -1 }, breakable(slugOf(pair))),
    fill(make("p", { class: "lede" }), pair.what),
    make("div", { class: "sides heads" }, heads),
    [...sectionsOf(pair)].map(([name, section]) => sectionOf(pair, name, section)),
  );
  return [steps, make("div", { class: "reading" }, contents(pair), main)];
}

/**
 * @param {Pair} pair
 * @param {string} name
 * @param {Section} section
 */
function sectionOf(pair, name, section) {
  const link = make("a", { href: `#read/${slugOf(pair)}/${name}` }, breakable(section.title));
  const head = make("h2", { tabindex: -1, id: `part-${name}` }, link);
  const sides = SIDES.map((side) => {
    const lines = section[side];
    const code = lines
      ? linesOf(pair[side], lines)
      : make("p", { class: "no-twin" }, "No counterpart");
    return make("div", { "data-side": side }, code);
  });
  return make(
    "section",
    { class: "part-of-file", "aria-labelledby": head.id },
    head,
    make("div", { class: "sides" }, sides),
  );
}

/**
 * The table of contents, with the sections of the file that is read.
 *
 * @param {Pair} current
 */
function contents(current) {
  const items = data.read.map((pair) => {
    const slug = slugOf(pair);
    const here = pair === current;
    const link = make(
      "a",
      { href: `#read/${slug}`, "aria-current": here && "page" },
      breakable(slug),
    );
    const sections = [...sectionsOf(pair)].map(([name, { title }]) => {
      const hash = `#read/${slug}/${name}`;
      return make("li", {}, make("a", { href: hash }, breakable(title.split(" · ")[0])));
    });
    return make("li", {}, link, here ? make("ol", {}, sections) : null);
  });
  return make("nav", { class: "contents", "aria-label": "The tour" }, make("ol", {}, items));
}

// ------------------------------------------------------------------------------------ routes

/**
 * Draw a page, unless it is there already.
 *
 * @param {string} page
 * @param {() => HTMLElement[]} parts
 */
function drawPage(page, parts) {
  if (pageView.dataset.page !== page) {
    pageView.replaceChildren(...parts());
    pageView.dataset.page = page;
  }
}

/** The heading of the page that is shown. */
function heading() {
  return /** @type {HTMLElement} */ (pageView.querySelector("h1"));
}

/**
 * @param {string} path
 * @returns {Shown}
 */
function showMissing(path) {
  drawPage(`missing/${path}`, () => [
    make("h1", { class: "page-title", tabindex: -1 }, "Not in this report"),
    make(
      "p",
      { class: "lede" },
      `There is nothing at #${path}. `,
      make("a", { href: "#matrix" }, "To the matrix"),
    ),
  ]);
  return { title: `Not in this report · ${NAME}`, focus: heading() };
}

/**
 * @param {string} path
 * @param {string} query
 * @returns {Shown}
 */
function show(path, query) {
  const [first, ...rest] = path.split("/");
  const isMatrix = first === "" || first === "matrix";
  matrixView.hidden = !isMatrix;
  pageView.hidden = isMatrix;
  toMatrix.ariaCurrent = isMatrix ? "page" : null;
  byId("to-read").ariaCurrent = first === "read" ? "page" : null;
  if (isMatrix) {
    return showMatrix(query);
  }
  if (Object.hasOwn(data.clauses, first)) {
    return showClause(first, rest.join("/"));
  }
  const tour = rest.join("/");
  const pairs = data.read.filter((pair) => `${tour}/`.startsWith(`${slugOf(pair)}/`));
  if (first === "read" && pairs.length) {
    const pair = pairs.reduce((one, other) =>
      slugOf(other).length > slugOf(one).length ? other : one,
    );
    return showPair(pair, tour.slice(slugOf(pair).length + 1));
  }
  return first === "read" && !tour ? showTour() : showMissing(path);
}

/** The matrix as it was left. */
let left = { hash: "", y: 0 };
let isFirst = true;
/** The hash of what is shown: the URL's, but for the moment until `hashchange` comes. */
let shown = "";

/** Show what the URL names. */
function route() {
  shown = location.hash;
  if (!matrixView.hidden) {
    left = { hash: matrixHash(), y: scrollY };
  }
  const [path, query = ""] = location.hash.slice(1).split(AT_QUERY);
  const { title, focus, aim } = show(decoded(path), query);
  document.title = title;
  if (aim || !isFirst) {
    focus.focus({ preventScroll: true });
  }
  isFirst = false;
  // A step of the history that was here before knows how far it was scrolled.
  const y = !matrixView.hidden && matrixHash() === left.hash ? left.y : history.state?.y;
  if (aim && y === undefined) {
    aim.scrollIntoView();
  } else {
    scrollTo(0, y ?? 0);
  }
  if (focus.closest("tr")) {
    focus.scrollIntoView({ block: "nearest" });
  }
}

/** The step of the history that is shown keeps how far it was scrolled. */
function onScrollEnd() {
  if (shown === location.hash) {
    history.replaceState({ y: scrollY }, "");
  }
}

/** @param {string} path */
function decoded(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** @param {string} hash */
function go(hash) {
  if (hash !== (location.hash || "#matrix")) {
    history.pushState(null, "", hash);
  }
  route();
}

// -------------------------------------------------------------------------------------- keys

const help = /** @type {HTMLDialogElement} */ (byId("help"));
const singleKeys = /** @type {HTMLInputElement} */ (byId("keys"));

/** @type {Record<string, () => void>} */
const KEYS = {
  "/": () => {
    if (matrixView.hidden) {
      go(matrixHash());
    }
    search.focus();
    search.select();
  },
  "?": () => help.showModal(),
  j: () => walk(1),
  k: () => walk(-1),
  m: () => go(matrixHash()),
  r: () => go("#read"),
  Escape: () => {
    if (matrixView.hidden) {
      go(matrixHash());
    }
  },
};

/**
 * To the next or the previous row, clause or file.
 *
 * @param {1 | -1} by
 */
function walk(by) {
  if (matrixView.hidden) {
    const link = pageView.querySelector(by > 0 ? "[rel=next]" : "[rel=prev]");
    if (link) {
      go(link.getAttribute("href") ?? "");
    }
    return;
  }
  const row = document.activeElement?.closest("tr");
  const at = matching.indexOf(row?.dataset.clause ?? "");
  const to = at < 0 ? matching.find((id) => isBelow(id)) : matching[at + by];
  rows.get(to ?? "")?.link.focus();
}

/**
 * Whether a row lies below what sticks to the window's top.
 *
 * @param {string} id
 */
function isBelow(id) {
  const sticky = byId("shares").querySelector(".target")?.getBoundingClientRect().bottom ?? 0;
  return (rows.get(id)?.row.getBoundingClientRect().top ?? 0) >= Math.max(sticky, 0);
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  const fields = "select, textarea, input:not([type=checkbox], [type=radio])";
  return target instanceof Element && target.matches(fields);
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  const { key, ctrlKey, altKey, metaKey, target } = event;
  if (ctrlKey || altKey || metaKey || event.isComposing || help.open || isTyping(target)) {
    return;
  }
  if (Object.hasOwn(KEYS, key) && (key === "Escape" || singleKeys.checked)) {
    event.preventDefault();
    KEYS[key]();
  }
}

/** @param {KeyboardEvent} event */
function onSearchKey(event) {
  if (event.isComposing) {
    return;
  }
  if (event.key === "Enter") {
    event.preventDefault();
    rows.get(matching[0] ?? "")?.link.focus();
  } else if (event.key === "Escape") {
    event.preventDefault();
    if (search.value) {
      search.value = "";
      filterAnew();
    } else {
      search.blur();
    }
  }
}

/**
 * A link to where one already is leads there all the same.
 *
 * @param {MouseEvent} event
 */
function onClick(event) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) {
    return;
  }
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  const hash = link?.getAttribute("href");
  if (hash === "#main") {
    event.preventDefault();
    byId("main").focus();
  } else if (hash === location.hash) {
    event.preventDefault();
    history.replaceState(null, "");
    route();
  }
}

// ------------------------------------------------------------------------------------- start

/**
 * @param {string} id
 * @param {[term: string, description: Child][]} pairs
 */
function fillList(id, pairs) {
  const items = pairs.map(([term, description]) =>
    make("div", {}, make("dt", {}, term), make("dd", {}, description)),
  );
  byId(id).append(...items);
}

fillList("versions", data.versions);
fillList("legend", [
  ...data.targets.map(
    (target) => /** @type {[string, string]} */ ([target, data.about[target] ?? ""]),
  ),
  ["✓ 34/34", "all cases proven"],
  ["✕ 31/34", "not fully proven"],
  ["–", "not asked of this target"],
]);
byId("made").textContent = data.made;
document.documentElement.style.setProperty("--targets", String(data.targets.length));
makeMatrix();

search.addEventListener("input", filterAnew);
groupChoice.addEventListener("change", filterAnew);
openOnly.addEventListener("change", filterAnew);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("clear").addEventListener("click", clearFilters);
search.addEventListener("keydown", onSearchKey);
byId("help-open").addEventListener("click", () => help.showModal());
byId("help-close").addEventListener("click", () => help.close());
document.addEventListener("keydown", onKey);
document.addEventListener("click", onClick);

history.scrollRestoration = "manual";
addEventListener("hashchange", route);
addEventListener("scrollend", onScrollEnd);
route();
