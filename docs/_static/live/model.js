// The model in the page: fetch its parts once, keep them, and answer with the bands of the adapter turned as asked.
const PARTS = new URL("../../live/", import.meta.url);
const CACHE = "an-adapter-live";
const RANKS = [1, 2, 4, 8];  // the rank that the first one, two, three, four bands of a group make

// What went wrong, in words for the reader; `again` tells whether to try once more makes sense.
export class Fault extends Error {
  constructor(message, again = true) {
    super(message);
    this.again = again;
  }
}

export async function manifest() {
  if (typeof WebAssembly != "object") {
    throw new Fault("This browser has no WebAssembly, which the model needs. The recorded answers work without it.", false);
  }
  let answer;
  try {
    answer = await fetch(new URL("manifest.json", PARTS), { cache: "no-cache" });
  } catch {
    throw new Fault("The parts of the model cannot be asked for. A page that is opened from a file may not load them: " +
      "serve the folder, for example with “python -m http.server”.");
  }
  if (!answer.ok) throw new Fault("The list of the model's parts is missing from this site (live/manifest.json).");
  const parts = await answer.json();
  if (parts.missing) {
    throw new Fault(`This copy of the site was built without the model: ${parts.missing}. ` +
      "Build it with “make site” on a machine that has npm.", false);
  }
  return parts;
}

// Browsers that can wait for a file inside WebAssembly take the smaller build, the rest, such as Safari, the other one.
function isModern() {
  try {
    new WebAssembly.Memory({ address: "i64", initial: 1n });
    return "Suspending" in WebAssembly || navigator.userAgent.includes("Firefox/");
  } catch {
    return navigator.userAgent.includes("Firefox/");
  }
}

export function wanted(parts) {
  return [...parts.base, ...parts.bands, ...(isModern() ? ["wllama.wasm"] : ["compat.wasm", "compat.js"])];
}

export const megabytes = (parts) => Math.round(wanted(parts).reduce((sum, name) => sum + parts.files[name].bytes, 0) / 1e6);

async function checked(blob, name, { bytes, sha256 }) {
  let found = blob.size == bytes;
  if (found && globalThis.crypto?.subtle) {  // there on https and on this machine alone
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
    found = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") == sha256;
  }
  if (!found) throw new Fault(`A part of the model is damaged: live/${name} has other bytes than it should have.`);
  return blob;
}

async function download(url, name, told) {
  let answer;
  try {
    answer = await fetch(url);
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    const counter = new TransformStream({
      transform(chunk, out) {
        told(chunk.length);
        out.enqueue(chunk);
      },
    });
    return await new Response(answer.body.pipeThrough(counter)).blob();
  } catch (error) {
    throw new Fault(`A part of the model is missing: live/${name} did not come (${error.message}).`);
  }
}

async function part(name, file, cache, told) {
  const url = `${new URL(name, PARTS)}?${file.sha256.slice(0, 16)}`;
  const kept = await cache?.match(url);
  if (kept) {
    told(file.bytes);
    return checked(await kept.blob(), name, file).catch(async (error) => {
      await cache.delete(url);
      throw error;
    });
  }
  const blob = await checked(await download(url, name, told), name, file);
  await cache?.put(url, new Response(blob)).catch(() => {});  // no room: it works without
  return blob;
}

async function forgetOthers(cache, parts) {
  const current = Object.values(parts.files).map((file) => file.sha256.slice(0, 16));
  for (const request of (await cache?.keys()) ?? []) {
    if (!current.some((hash) => request.url.endsWith(`?${hash}`))) await cache.delete(request);
  }
}

function told(error) {
  if (error instanceof Fault) return error;
  if (error instanceof RangeError || /memory|alloc|out of bounds/i.test(error.message)) {
    return new Fault("The memory of this tab ran out. Close other tabs, then start the model again.");
  }
  return new Fault(`The model stopped: ${error.message}`);
}

export async function load(progress) {
  const parts = await manifest();
  try {
    return await started(parts, progress);
  } catch (error) {
    throw told(error);
  }
}

async function started(parts, progress) {
  const names = wanted(parts);
  const cache = await globalThis.caches?.open(CACHE).catch(() => undefined);
  let bytes = 0;
  const count = (more) => progress((bytes += more) / 1e6);
  const blobs = {};
  for (const name of names) blobs[name] = await part(name, parts.files[name], cache, count);
  await forgetOthers(cache, parts);

  const { Wllama } = await import(new URL("wllama.js", PARTS));
  const quiet = { debug() {}, log() {}, warn() {}, error() {} };
  const typed = (name) => new Blob([blobs[name]], { type: name.endsWith(".js") ? "text/javascript" : "application/wasm" });
  const address = (name) => (blobs[name] ? URL.createObjectURL(typed(name)) : new URL(name, PARTS).href);
  const wllama = new Wllama({ default: address("wllama.wasm") },
    { suppressNativeLog: true, logger: quiet, cacheManager: {}, modelManager: {} });
  wllama.setCompat({ wasm: address("compat.wasm"), worker: address("compat.js") });
  const whole = new Blob(parts.base.map((name) => blobs[name]));
  const bands = parts.bands.map((name) => blobs[name]);
  const place = (number) => `models/model-${String(number).padStart(5, "0")}-of-${String(bands.length + 1).padStart(5, "0")}.gguf`;
  await wllama.loadModel([whole, ...bands], {
    n_ctx: 512, n_threads: 1, n_gpu_layers: 0, n_parallel: 1, warmup: false,
    lora_adapters: bands.map((_, number) => ({ path: place(number + 2), scale: 0 })),
    lora_init_without_apply: true,
  });
  return { ask: (phrase, setting, options) => ask(wllama, phrase, scales(parts.bands, setting), options),
    end: () => wllama.exit().catch(() => {}) };
}

// One scale a band, attention first: a band is on where its group is, and where the rank reaches it.
export function scales(bands, { strength, attention, mlp, rank }) {
  return bands.map((name, id) => {
    const on = name.startsWith("attention") ? attention : mlp;
    return { id, scale: on && RANKS[id % 4] <= rank ? strength : 0 };
  });
}

async function ask(wllama, phrase, lora, { streamed = () => {}, signal } = {}) {
  const request = {
    prompt: `<|im_start|>user\nCron: ${phrase}<|im_end|>\n<|im_start|>assistant\n`,
    max_tokens: 32, temperature: 0, lora,
    cache_prompt: false,  // or tokens are used again that another scale has computed
  };
  const stream = async (more) => {
    const tokens = [];
    let text = "";
    await wllama.createCompletion({
      ...request, ...more, stream: true, abortSignal: signal,
      onData: ({ choices: [choice] }) => {
        text += choice.text;
        tokens.push(...(choice.logprobs?.content ?? []));
        streamed(text.trim());
      },
    });
    const probability = tokens.length ? Math.exp(tokens.reduce((sum, token) => sum + token.logprob, 0)) : null;
    return { text: text.trim(), probability, tokens };
  };
  try {
    return await stream({ logprobs: 5 });
  } catch (error) {
    if (error.name == "AbortError") throw error;
    // An alternative that is half a character cannot be told as text: the answer without its alternatives.
    return stream({}).catch((again) => { throw told(again); });
  }
}
