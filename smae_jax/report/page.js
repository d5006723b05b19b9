"use strict";
document.documentElement.classList.add("scripted");
for (const viewer of document.querySelectorAll(".viewer")) {
  const part = (name) => viewer.querySelector("." + name);
  const views = [...document.querySelectorAll(".sheet")];
  const under = part("under"), over = part("over"), edge = part("edge"), split = part("split");
  const frame = part("frame"), left = part("choose-left"), right = part("choose-right");
  const view = part("choose-view"), blink = part("blink");
  let timer = 0, flipped = false;
  const image = (layer) =>
    views[Number(view.value)].children[Number(frame.value)].querySelector(`img[data-layer="${layer}"]`);
  const show = () => {
    const blinking = timer !== 0;
    const row = views[Number(view.value)].children[Number(frame.value)];
    under.src = image(blinking && !flipped ? left.value : right.value).src;
    over.src = image(left.value).src;
    over.style.visibility = blinking ? "hidden" : "visible";
    over.style.clipPath = `inset(0 ${100 - Number(split.value)}% 0 0)`;
    edge.style.left = split.value + "%";
    edge.style.visibility = over.style.visibility;
    split.disabled = blinking;
    part("tag.left").textContent = blinking && flipped ? "" : left.value;
    part("tag.right").textContent = blinking && !flipped ? "" : right.value;
    part("caption").textContent = row.dataset.name;
    part("number").textContent = row.dataset.number;
  };
  const toggle = () => {
    if (timer) { clearInterval(timer); timer = 0; flipped = false; }
    else { timer = setInterval(() => { flipped = !flipped; show(); }, 600); }
    blink.setAttribute("aria-pressed", String(timer !== 0));
    show();
  };
  for (const control of [frame, split]) control.addEventListener("input", show);
  for (const control of [left, right, view]) control.addEventListener("change", show);
  blink.addEventListener("click", toggle);
  part("stage").addEventListener("pointermove", (event) => {
    if (event.buttons !== 1 || timer) return;
    const box = part("stage").getBoundingClientRect();
    split.value = String(Math.round((100 * (event.clientX - box.left)) / box.width));
    show();
  });
  show();
}
