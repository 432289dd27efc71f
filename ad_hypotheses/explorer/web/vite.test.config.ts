import { readdirSync } from "node:fs";
import { defineConfig } from "vite";

// the tests as plain modules, which node's own test runner runs
export default defineConfig({
  build: {
    ssr: true,
    outDir: "node_modules/.tests",
    emptyOutDir: true,
    target: "es2022",
    rollupOptions: { input: readdirSync("tests").filter((name) => name.endsWith(".test.ts")).map((name) => `tests/${name}`) },
  },
});
