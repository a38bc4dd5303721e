import type { Desktop } from "../api/types";
import { WayOut } from "../exit/way-out";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { client, desktops } from "../session";
import { text } from "../text";

interface WayOutDialogProps {
  desktop: Desktop;
  onClose: () => void;
}

export function WayOutDialog({ desktop, onClose }: WayOutDialogProps) {
  const done = (): void => void desktops.readAll().then(onClose);
  return (
    <Dialog label={text.exit.title(desktop.name)} kind="way-out-dialog" onClose={onClose}>
      <WayOut title={text.exit.title(desktop.name)} desktop={desktop} client={client} onChanged={done}>
        <Button onClick={onClose}>{text.verbs.cancel}</Button>
      </WayOut>
    </Dialog>
  );
}
