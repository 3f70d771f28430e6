'use strict';
// Sort a table by a column; numbers descend first.
for (const button of document.querySelectorAll('.sort')) {
  button.addEventListener('click', () => {
    const head = button.closest('th');
    const body = head.closest('table').tBodies[0];
    const column = head.cellIndex;
    const isNumber = head.classList.contains('number');
    const before = head.getAttribute('aria-sort');
    const descends = before ? before === 'ascending' : isNumber;
    const sign = descends ? -1 : 1;
    for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', descends ? 'descending' : 'ascending');
    const text = (row) => row.cells[column].textContent.trim();
    const number = (row) => (text(row) === 'n/a' ? sign * Infinity : parseFloat(text(row))); // n/a is last
    const inText = (one, other) => text(one).localeCompare(text(other), undefined, { numeric: true });
    const compare = isNumber ? (one, other) => number(one) - number(other) : inText;
    const rows = Array.from(body.rows).sort((one, other) => sign * compare(one, other));
    body.append(...rows);
  });
}

// Enlarge a picture, in both runs.
const viewer = document.getElementById('viewer');
for (const button of document.querySelectorAll('.enlarge')) {
  button.addEventListener('click', () => {
    const figure = button.closest('figure').cloneNode(true);
    for (const inner of figure.querySelectorAll('.enlarge')) inner.replaceWith(inner.firstElementChild);
    viewer.querySelector('.content').replaceChildren(figure);
    viewer.showModal();
  });
}

// On paper, everything is shown.
addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('details')) details.open = true;
});
