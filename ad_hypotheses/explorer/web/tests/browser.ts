// What modules of the page find in a browser as they are loaded.
const kept = new Map<string, string>();
Object.assign(globalThis, {
  sessionStorage: { getItem: (name: string) => kept.get(name) ?? null, setItem: (name: string, value: string) => kept.set(name, value) },
  matchMedia: () => ({ addEventListener: () => {} }),
});
