// Small helpers over the DOM. Data reaches the page only as text or attribute values, never as markup.

export const byId = (id) => document.getElementById(id);

/** A new element: `el('p', { class: 'soft', text: 'hello' }, child, ...)`. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'text') node.textContent = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Writing the same text again would still cost a layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Text that hides its element when there is nothing to say. */
export function sayOrHide(node, text) {
  setText(node, text ?? '');
  show(node, Boolean(text));
}

/** `null` takes the attribute away. */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** Make `nodes` the children of `parent`; those in place stay untouched, and the focus stays where it was. */
export function arrange(parent, nodes) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

/** A bar from 0 to 1; `null` means that nobody knows yet. */
export function setBar(bar, fraction, valueText) {
  bar.firstElementChild.style.width = `${Math.min(1, Math.max(0, fraction ?? 0)) * 100}%`;
  setAttribute(bar, 'aria-valuenow', fraction === null ? null : Math.round(fraction * 100));
  setAttribute(bar, 'aria-valuetext', valueText);
}
