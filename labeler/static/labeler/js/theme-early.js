// Before anything is painted: the colours somebody chose here, else those of their system.
(function () {
  let chosen = null;
  try {
    chosen = localStorage.getItem('labeler.theme');
  } catch {
    // Storage is closed to us; the system's choice it is.
  }
  const dark = chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
})();
