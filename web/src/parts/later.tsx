import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

/** A component whose code comes when it is first shown; until then there is nothing. */
export function later<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  let loaded: ComponentType<P> | null = null;
  return (props: P) => {
    const [Shown, show] = useState<ComponentType<P> | null>(() => loaded);
    useEffect(() => {
      if (Shown) return;
      void load().then((component) => {
        loaded = component;
        show(() => component);
      });
    }, [Shown]);
    return Shown && <Shown {...props} />;
  };
}
