// The report's own script: theme and menu. Without it the page shows the same.
(() => {
  'use strict';
  const root = document.documentElement;

  // Theme: the choice is kept where the browser allows it; a page opened from a file may not be allowed to.
  const themes = ['auto', 'light', 'dark'], theme = document.getElementById('theme');
  const store = value => { try { localStorage.setItem('wsss-theme', value); } catch { /* not allowed here */ } };
  const stored = () => { try { return localStorage.getItem('wsss-theme'); } catch { return null; } };
  const setTheme = value => {
    if (value === 'auto') delete root.dataset.theme; else root.dataset.theme = value;
    theme.textContent = 'Theme: ' + value;
    theme.value = value;
  };
  setTheme(themes.includes(stored()) ? stored() : 'auto');
  theme.addEventListener('click', () => {
    const next = themes[(themes.indexOf(theme.value) + 1) % themes.length];
    setTheme(next);
    store(next);
  });

  // Menu: the section in view is marked.
  const links = new Map([...document.querySelectorAll('nav a')].map(a => [a.hash.slice(1), a]));
  if ('IntersectionObserver' in window) {
    const observer = new IntersectionObserver(entries => {
      for (const entry of entries) if (entry.isIntersecting) {
        links.forEach((a, id) => a.classList.toggle('here', id === entry.target.id));
      }
    }, { rootMargin: '-20% 0px -70% 0px' });
    document.querySelectorAll('main > section').forEach(section => observer.observe(section));
  }
})();
