document.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.closest("figure").querySelector("pre").innerText;
  const say = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
  const byHand = () => {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    say();
  };
  if (navigator.clipboard && window.isSecureContext) navigator.clipboard.writeText(text).then(say, byHand);
  else byHand();
});
