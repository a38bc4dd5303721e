import { useEffect, useMemo } from "preact/hooks";
import { account, PasswordDialog } from "./account";
import { Client } from "./api/client";
import { useCell } from "./cell";
import { Desktops } from "./desktops";
import { Login } from "./login";
import { Button } from "./parts/button";
import { later } from "./parts/later";
import { go, route } from "./route";
import { client, desktops, type Grant, mayControl, who } from "./session";
import { text } from "./text";
import { View } from "./view/view";
import { Header } from "./wall/header";
import { Palette } from "./wall/palette";
import { Wall } from "./wall/wall";

// Not on the way to the wall or to a desktop: what is loaded first is small.
const TablePage = later(() => import("./tables/page").then((module) => module.TablePage));

/** Which screen is shown, by who looks and by the address. */
export function App() {
  const viewer = useCell(who);
  const here = useCell(route);
  const changingPassword = useCell(account);
  if (viewer.kind === "unknown") return null;
  if (viewer.kind === "nobody") return <Login problem={viewer.problem} />;
  if (viewer.kind === "guest") return <GuestView grant={viewer.grant} />;
  return (
    <>
      {here.at === "wall" && <Wall />}
      {here.at === "desktop" && (
        <View
          key={here.name}
          name={here.name}
          mode={mayControl() ? "control" : "view"}
          client={client}
          source={desktops}
          guest={false}
        />
      )}
      {here.at === "table" && <TablePage key={here.table} table={here.table} />}
      {here.at === "nowhere" && <Nowhere />}
      <Palette />
      {changingPassword && <PasswordDialog />}
    </>
  );
}

/** The view of someone who came by a link: one desktop, and nothing else of Oriel. */
function GuestView({ grant }: { grant: Grant }) {
  const [own, source] = useMemo(() => {
    const made = new Client(grant.grant);
    return [made, new Desktops(made, grant.desktop)];
  }, [grant]);
  useEffect(() => {
    source.start();
    return () => source.stop();
  }, [source]);
  return <View name={grant.desktop} mode={grant.mode} client={own} source={source} guest />;
}

function Nowhere() {
  return (
    <>
      <Header />
      <main id="main" class="empty">
        <p>{text.problem.pageNotFound}</p>
        <Button onClick={() => go("/")}>{text.nav.desktops}</Button>
      </main>
    </>
  );
}
