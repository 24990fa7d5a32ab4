// The order of search results. Sphinx gives all pages that have the words one score. Here rare words, words of titles and headings, and
// pages of few other words count more, and pages have keywords. Pages answer a question, notebooks derive it.
const LATER = { reference: 0.9, theory_notebooks: 0.5, CHANGELOG: 0.7, validation: 0.3, CONTRIBUTING: 0.5 }; // factors of the score
const MEANT = {
  dead: "silent", dataset: "data", slope: "surrogate", cite: "citing", quote: "citing", reduce: "fewer", lower: "fewer", leaky: "leak",
  batchnorm: "normalisation", norm: "normalisation", shortcut: "residual", vanish: "gradient", explode: "gradient", custom: "own", init: "gain",
};
const KEYWORDS = {
  "CHANGELOG": "new changes version release",
  "docs/practitioner": "silent fire no spikes weights small gain dead initialise",
  "docs/models": "audit table columns synops verdict",
  "docs/supported_models": "convolution attention neurons read",
  "docs/training": "train accuracy experiments",
  "docs/choose": "kaiming xavier initialisation method",
  "docs/cost": "energy synops operations joules budget neurobench",
  "docs/few_spikes": "sparsity energy fewer firing sparse activity",
  "docs/glossary": "late rate meaning word",
  "docs/notation": "theta beta symbols",
  "docs/libraries": "snntorch spikingjelly norse sinabs lif leaky neuron",
  "docs/extending": "add reset method neuron weights custom",
  "docs/extending_layers": "add layer drive custom",
  "docs/bibliography": "sources papers cite citation citing bibtex",
  "docs/evidence": "accuracy speed",
  "docs/campaigns": "resume checkpoint sweep cluster parallel dask progress",
  "docs/blocks": "batchnorm gamma normalisation",
  "docs/learning_rate": "adam lr optimizer advise change learning rate",
  "docs/theorist": "prove proof unique uniqueness only one fixed point",
  "docs/critical_gain": "critical gain",
  "docs/notebooks": "tutorial jupyter",
  "docs/command_line": "shell json",
  "docs/weight_distributions": "heavy tails",
  "docs/width": "minimum width alive",
  "docs/finite_width_in_time": "width leaky neuron memory",
  "docs/gradients": "vanishing exploding gradients",
  "docs/will_it_learn": "trainability verdict depth",
  "docs/gallery": "phase diagram figures pictures plots",
  "docs/reference/networks": "describe network",
  "docs/reference/layers": "drive poisson input",
  "docs/reference/init": "fill",
  "docs/reference/propagation": "fixed point variance map",
  "docs/reference/finite_width": "finite width survival",
  "docs/reference/information": "kernel correlation readout",
  "docs/reference/figures": "plot figures",
};
const HIT = { title: 4, keyword: 3.5, heading: 2, text: 1, object: 4.5, joined: 3.6, entry: 2, member: 1, part: 0.7 };
const FAINT = 0.25; // pages below this part of the best score are left out

const JOINED = 30; // until it becomes a score

/** Functions of varflow itself come before those of its packages, methods and modules of one word later. */
function ofObject(parts, score) {
  const whole = score === JOINED ? HIT.joined : parts.length === 2 || parts.at(-1).includes("_") ? HIT.object : HIT.member;
  return (score < 20 ? HIT.part : whole) - 0.05 * parts.length;
}

var Scorer = {
  score: ([page, name, , , score, , kind]) => {
    if (kind === "object") score = ofObject(name.split("."), score);
    if (kind === "index") score *= HIT.entry / 100;
    if (kind === "title") score *= (name.includes(" > ") ? HIT.heading : HIT.title) / 15;
    const reference = kind !== "object" && page.startsWith("docs/reference/");
    return score * (reference ? LATER.reference : (LATER[page.split("/")[0]] ?? 1));
  },
  objNameMatch: 20, objPartialMatch: 6, objPrio: {}, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};

/** Weight of every word of the index on every page that has it, and the number of words of each page. */
function weigh({ docnames, titles, terms, titleterms }) {
  const stemmer = new Stemmer();
  const stems = (text) => splitQuery(text.toLowerCase()).map((word) => stemmer.stemWord(word));
  const weights = new Map();
  const lengths = new Array(docnames.length).fill(0);
  const raise = (word, page, weight) => {
    if (!weights.has(word)) weights.set(word, new Map());
    weights.get(word).set(page, Math.max(weight, weights.get(word).get(page) ?? 0));
  };
  for (const [word, pages] of Object.entries(terms)) {
    for (const page of [pages].flat()) {
      raise(word, page, HIT.text);
      lengths[page]++;
    }
  }
  for (const [word, pages] of Object.entries(titleterms)) for (const page of [pages].flat()) raise(word, page, HIT.heading);
  titles.forEach((title, page) => stems(title).forEach((word) => raise(word, page, HIT.title)));
  docnames.forEach((name, page) => stems(KEYWORDS[name] ?? "").forEach((word) => raise(word, page, HIT.keyword)));
  const usual = lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
  return { weights, stems, lengths: lengths.map((length) => 0.6 + (0.4 * length) / usual), number: docnames.length };
}

/** Objects by name; the words of a query may be those of one name: mean field, mean_field. */
const objectsOf = Search.performObjectSearch;
Search.performObjectSearch = (word, words) => {
  const joined = words.size > 1 ? `.${[...words].join("_")}` : null;
  return objectsOf(word, words).map((item) => (joined && item[1].endsWith(joined) ? item.with(4, JOINED) : item));
};

/** Pages by the weight of the words they have; a page need not have all. */
Search.performTermsSearch = (searchTerms, excludedTerms) => {
  const { weights, stems, lengths, number } = (Search.weighed ??= weigh(Search._index));
  const { docnames, titles, filenames } = Search._index;
  const scores = new Map();
  const rarity = (word) => Math.log(1 + number / (weights.get(word)?.size ?? number));
  let wanted = 0;
  for (const word of searchTerms) {
    const begun = weights.has(word) || word.length < 3 ? [word] : [...weights.keys()].filter((term) => term.startsWith(word));
    const meant = Object.entries(MEANT).filter(([said]) => stems(said)[0] === word).map(([, written]) => stems(written)[0]);
    const best = new Map();
    for (const [term, part] of [...begun.map((term) => [term, 1]), ...meant.map((term) => [term, 0.8])]) {
      for (const [page, weight] of weights.get(term) ?? []) {
        best.set(page, Math.max(best.get(page) ?? 0, part * rarity(term) * (weight > HIT.text ? weight : weight / lengths[page])));
      }
    }
    wanted += weights.has(word) ? rarity(word) : Math.max(...[...begun, ...meant].map(rarity), 1);
    for (const [page, value] of best) scores.set(page, (scores.get(page) ?? 0) + value);
  }
  const excluded = [...excludedTerms].flatMap((word) => [...(weights.get(word)?.keys() ?? [])]);
  const best = Math.max(...scores.values());
  return [...scores]
    .filter(([page, score]) => score > FAINT * best && !excluded.includes(page))
    .map(([page, score]) => [docnames[page], titles[page], "", null, score / wanted, filenames[page], SearchResultKind.text]);
};
