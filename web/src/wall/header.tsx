import type { ComponentChildren } from "preact";
import { account } from "../account";
import { useCell } from "../cell";
import { Mark } from "../parts/icons";
import { Menu, MenuItem } from "../parts/menu";
import { followLink, go, route } from "../route";
import { desktops, signOut, visibleTables, who } from "../session";
import { text } from "../text";
import { palette } from "./palette";

/** The strip at the top of every screen but the view. */
export function Header({ children }: { children?: ComponentChildren }) {
  const connection = useCell(desktops.connection);
  return (
    <>
      <a class="skip" href="#main">
        {text.nav.skip}
      </a>
      <header class="header">
        <a class="brand" href="/" onClick={followLink} aria-label={`${text.product}: ${text.nav.desktops}`}>
          <Mark />
          <span class="wide">{text.product}</span>
        </a>
        <div class="header-tools">
          {children}
          <MainMenu />
        </div>
      </header>
      <div role="status">
        {connection === "lost" && <p class="lost-line">{text.wall.lost}</p>}
      </div>
    </>
  );
}

function MainMenu() {
  const viewer = useCell(who);
  const here = useCell(route);
  if (viewer.kind !== "person") return null;
  return (
    <Menu label={text.nav.menu} icon="menu">
      {(close) => {
        const to = (path: string) => () => {
          close();
          go(path);
        };
        return (
          <>
            <p class="menu-note">{text.nav.signedInAs(viewer.session.user)}</p>
            {here.at !== "wall" && (
              <MenuItem icon="grid" onClick={to("/")}>
                {text.nav.desktops}
              </MenuItem>
            )}
            {visibleTables().map((table) => (
              <MenuItem key={table} onClick={to(`/${table}`)}>
                {text.nav[table]}
              </MenuItem>
            ))}
            <MenuItem
              onClick={() => {
                close();
                palette.set(true);
              }}
            >
              {text.nav.palette}
              <kbd>Ctrl K</kbd>
            </MenuItem>
            {viewer.session.has_password && (
              <MenuItem
                onClick={() => {
                  close();
                  account.set(true);
                }}
              >
                {text.account.title}
              </MenuItem>
            )}
            <MenuItem onClick={() => void signOut()}>{text.nav.logout}</MenuItem>
          </>
        );
      }}
    </Menu>
  );
}
