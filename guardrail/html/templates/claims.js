// Escape hides a tooltip until pointer or focus comes back to its claim (WCAG 2.2, 1.4.13). All else works without.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const claim of document.querySelectorAll(".claim:hover, .claim:focus-within")) claim.classList.add("hushed");
});
for (const type of ["mouseover", "focusin"]) {
  document.addEventListener(type, (event) => {
    for (const claim of document.querySelectorAll(".claim.hushed")) {
      if (type === "focusin" || !claim.contains(event.target)) claim.classList.remove("hushed");
    }
  });
}
