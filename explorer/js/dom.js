// Elements of the page by their names.

export const $ = (id) => document.getElementById(id);
