'use strict';
// Sort a table by a column; numbers descend first.
for (const button of document.querySelectorAll('.sort')) {
  button.addEventListener('click', () => {
    const head = button.closest('th');
    const body = head.closest('table').tBodies[0];
    const column = head.cellIndex;
    const isNumber = head.classList.contains('number');
    const before = head.getAttribute('aria-sort');
    const order = before ? (before === 'ascending' ? 'descending' : 'ascending') : isNumber ? 'descending' : 'ascending';
    for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', order);
    const sign = order === 'ascending' ? 1 : -1;
    const value = (row) => row.cells[column].textContent.trim();
    const rows = Array.from(body.rows);
    rows.sort((one, other) => {
      if (!isNumber) return sign * value(one).localeCompare(value(other));
      const numbers = [parseFloat(value(one)), parseFloat(value(other))];
      const missing = numbers.map(Number.isNaN);
      if (missing[0] || missing[1]) return missing[0] - missing[1]; // n/a is last
      return sign * (numbers[0] - numbers[1]);
    });
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
viewer.querySelector('.close').addEventListener('click', () => viewer.close());
viewer.addEventListener('click', (event) => {
  if (event.target === viewer) viewer.close();
});

// On paper, everything is shown.
addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('details')) details.open = true;
});
