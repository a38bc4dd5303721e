import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import type { Table } from "../route";
import { text } from "../text";
import { Header } from "../wall/header";
import { Audit } from "./audit";
import { Images } from "./images";
import { People } from "./people";
import { Proxies } from "./proxies";
import { Snapshots } from "./snapshots";
import { Templates } from "./templates";
import { Tokens } from "./tokens";

const TABLES: Record<Table, () => ComponentChildren> = {
  proxies: () => <Proxies />,
  images: () => <Images />,
  templates: () => <Templates />,
  snapshots: () => <Snapshots />,
  tokens: () => <Tokens />,
  people: () => <People />,
  audit: () => <Audit />,
};

/** One of the quiet tables behind the menu. */
export function TablePage({ table }: { table: Table }) {
  useEffect(() => {
    document.title = `${text.nav[table]} · ${text.product}`;
  }, [table]);
  return (
    <>
      <Header />
      <main id="main" class="table-page">
        <h1>{text.nav[table]}</h1>
        <p class="table-help">{text.tables[table].help}</p>
        {TABLES[table]()}
      </main>
    </>
  );
}
