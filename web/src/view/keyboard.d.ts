// noVNC's keyboard (core/input/keyboard.js in its package, named in vite.config.ts).
declare module "novnc-keyboard" {
  export default class Keyboard {
    constructor(target: Element);
    onkeyevent: (keysym: number, code: string, down: boolean) => void;
    grab(): void;
    ungrab(): void;
  }
}
