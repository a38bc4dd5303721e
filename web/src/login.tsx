import { useEffect, useState } from "preact/hooks";
import { asProblem, type Problem } from "./api/problem";
import { Button } from "./parts/button";
import { Field } from "./parts/field";
import { Mark } from "./parts/icons";
import { Notice } from "./parts/notice";
import { signIn } from "./session";
import { text } from "./text";

/** The way in for a person with a token. `problem`: why the one who came was not let in. */
export function Login({ problem: arrival }: { problem: Problem | null }) {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(arrival);
  useEffect(() => {
    document.title = `${text.login.title} · ${text.product}`;
  }, []);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await signIn(token.trim());
    } catch (error) {
      setProblem(asProblem(error));
      setBusy(false);
    }
  };
  return (
    <main class="login">
      <form onSubmit={(event) => void submit(event)}>
        <Mark />
        <h1>{text.product}</h1>
        {problem && <Notice problem={problem} />}
        <Field
          label={text.login.token}
          help={text.login.hint}
          secret
          name="token"
          autocomplete="current-password"
          value={token}
          onValue={setToken}
          required
          autofocus
        />
        <Button kind="primary" type="submit" busy={busy} disabled={token.trim() === ""}>
          {busy ? text.login.working : text.login.submit}
        </Button>
      </form>
    </main>
  );
}
