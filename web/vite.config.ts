import { defineConfig } from "vitest/config";

// The controller serves web/dist as it is. `npm run dev` serves the page from its sources and passes
// the API on to a controller that runs beside it.
const controller = "http://127.0.0.1:8080";

// noVNC's package names only its viewer; its keyboard, with a decade of layouts in it, serves the other rungs.
const keyboard = new URL("node_modules/@novnc/novnc/core/input/keyboard.js", import.meta.url).pathname;

export default defineConfig({
  resolve: { alias: { "novnc-keyboard": keyboard } },
  build: {
    target: "es2022",
    // A data: address for a small file would need an exception in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  server: { proxy: { "/v1": { target: controller, ws: true } } },
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
});
