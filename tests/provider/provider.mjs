// A certified OpenID provider (panva/node-oidc-provider) for the tests, on a port of its own.
//
// node provider.mjs REDIRECT_URI…: says one line of JSON {"issuer"} once it serves; the client's secret comes on
// stdin. Its own development pages ask for a name and take any password; that name is the subject.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import Provider from "oidc-provider";

const secret = readFileSync(0, "utf8").trim();
const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "oriel",
        client_secret: secret,
        grant_types: ["authorization_code"],
        response_types: ["code"],
        redirect_uris: process.argv.slice(2),
      },
    ],
    claims: { openid: ["sub"], profile: ["preferred_username", "name"], email: ["email"] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    cookies: { keys: [secret] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id.split("@")[0], name: id, email: `${id}@example.com` }),
    }),
  });
  server.on("request", provider.callback());
  console.log(JSON.stringify({ issuer }));
});
