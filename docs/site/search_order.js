// The order of search results: pages answer a question, notebooks derive it, changes and evidence are for reference.
const LATER = [["theory_notebooks/", 0.4], ["CHANGELOG", 0.2], ["validation/", 0.3], ["CONTRIBUTING", 0.5]];

var Scorer = {
  score: ([page, , , , score]) => score * (LATER.find(([start]) => page.startsWith(start))?.[1] ?? 1),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
