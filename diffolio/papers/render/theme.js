document.documentElement.className = "js";
try {
  const kept = localStorage.getItem("diffolio-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch { /* storage may be off; the system's preference then decides */ }
