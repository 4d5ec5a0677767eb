// npm's ssh2; as tests/clients/programs says. Beside it: `listen`.
const fs = require("fs");
const net = require("net");
const os = require("os");
const path = require("path");
const { Client } = require("ssh2");

const [host, port, username, key, knownHosts, verb, ...words] = process.argv.slice(2);
const known = fs.readFileSync(knownHosts, "utf8");
const client = new Client();

function fail(error) {
  process.stderr.write(`${error}\n`);
  process.exit(255);
}

function run(command) {
  client.exec(command, (error, stream) => {
    if (error) fail(error);
    let status = 255;
    process.stdin.pipe(stream);
    stream.pipe(process.stdout);
    stream.stderr.pipe(process.stderr);
    stream.on("exit", (code, name) => (status = code ?? 128 + os.constants.signals[`SIG${name.replace(/^SIG/, "")}`]));
    stream.on("close", () => { client.end(); process.exitCode = status; process.stdin.destroy(); });
  });
}

function dial(to, toPort) {
  client.forwardOut("127.0.0.1", 0, to, Number(toPort), (error, stream) => {
    if (error) fail(error);
    process.stdin.pipe(stream).pipe(process.stdout);
    stream.on("close", () => { client.end(); process.stdin.destroy(); });
  });
}

function listen(remote, home) {
  client.on("tcp connection", (_details, accept) => {
    const stream = accept();
    stream.pipe(net.connect(Number(home), "127.0.0.1")).pipe(stream);
  });
  client.forwardIn("localhost", Number(remote), (error) => error && fail(error));
}

const wait = (call) => new Promise((done, failed) => call((error, value) => (error ? failed(error) : done(value))));

async function put(sftp, here, there) {
  await wait((back) => sftp.mkdir(there, back));
  for (const each of fs.readdirSync(here, { withFileTypes: true })) {
    const [from, to] = [path.join(here, each.name), `${there}/${each.name}`];
    if (each.isDirectory()) await put(sftp, from, to);
    else await wait((back) => sftp.writeFile(to, fs.readFileSync(from), back));
  }
}

async function get(sftp, there, here) {
  fs.mkdirSync(here);
  for (const each of await wait((back) => sftp.readdir(there, back))) {
    const [from, to] = [`${there}/${each.filename}`, path.join(here, each.filename)];
    if (each.attrs.isDirectory()) await get(sftp, from, to);
    else fs.writeFileSync(to, await wait((back) => sftp.readFile(from, back)));
  }
}

client.on("error", fail);
client.on("connect", () => client.setNoDelay(true)); // else each small request waits 40 ms for an acknowledgement
client.on("ready", () => {
  if (verb === "put" || verb === "get") {
    client.sftp((error, sftp) => {
      if (error) fail(error);
      (verb === "put" ? put : get)(sftp, ...words).then(() => client.end(), fail);
    });
  } else ({ run, dial, listen })[verb](...words);
});
client.connect({
  host, port: Number(port), username, privateKey: fs.readFileSync(key),
  hostVerifier: (blob) => known.includes(blob.toString("base64")),
});
