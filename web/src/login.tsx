import { useEffect, useState } from "preact/hooks";
import { asProblem, type Problem } from "./api/problem";
import type { Ways } from "./api/types";
import { Button } from "./parts/button";
import { Field } from "./parts/field";
import { Mark } from "./parts/icons";
import { Notice } from "./parts/notice";
import { client, signIn, signInByPassword } from "./session";
import { text } from "./text";

type Way = "password" | "token";

/** The way in. `problem`: why the one who came was not let in. */
export function Login({ problem: arrival }: { problem: Problem | null }) {
  const [ways, setWays] = useState<Ways | null>(null);
  const [chosen, setChosen] = useState<Way | null>(null);
  const [problem, setProblem] = useState(arrival);
  useEffect(() => {
    document.title = `${text.login.title} · ${text.product}`;
    client.get<Ways>("/session/ways").then(setWays, (error: unknown) => setProblem(asProblem(error)));
  }, []);
  const way = chosen ?? (ways?.password ? "password" : "token");
  const other = way === "password" ? "token" : "password";
  return (
    <main class="login">
      <div class="login-ways">
        <Mark />
        <h1>{text.product}</h1>
        {problem && <Notice problem={problem} />}
        {ways?.oidc && (
          <a class="button primary" href={`${ways.oidc.url}?path=${encodeURIComponent(location.pathname)}`}>
            {text.login.provider(ways.oidc.title)}
          </a>
        )}
        {ways && <Form key={way} way={way} quiet={ways.oidc !== null} onProblem={setProblem} />}
        {ways && (
          <button type="button" class="login-other" onClick={() => setChosen(other)}>
            {text.login.instead[other]}
          </button>
        )}
      </div>
    </main>
  );
}

interface FormProps {
  way: Way;
  /** There is a better way above it. */
  quiet: boolean;
  onProblem: (problem: Problem | null) => void;
}

function Form({ way, quiet, onProblem }: FormProps) {
  const [name, setName] = useState("");
  const [secret, setSecret] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await (way === "password" ? signInByPassword(name.trim(), secret) : signIn(secret.trim()));
    } catch (error) {
      onProblem(asProblem(error));
      setBusy(false);
    }
  };
  const ready = secret.trim() !== "" && (way === "token" || name.trim() !== "");
  return (
    <form onSubmit={(event) => void submit(event)}>
      {way === "password" && (
        <Field
          label={text.login.name}
          name="username"
          autocomplete="username"
          spellcheck={false}
          value={name}
          onValue={setName}
          required
          autofocus
        />
      )}
      <Field
        label={way === "password" ? text.login.password : text.login.token}
        help={way === "token" ? text.login.hint : ""}
        secret
        name={way}
        autocomplete="current-password"
        value={secret}
        onValue={setSecret}
        required
        autofocus={way === "token"}
      />
      <Button kind={quiet ? "plain" : "primary"} type="submit" busy={busy} disabled={!ready}>
        {busy ? text.login.working : text.login.submit}
      </Button>
    </form>
  );
}
