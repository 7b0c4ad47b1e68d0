// Who is asking: an API key or a token, asked for when the gateway wants one. It stays in this tab and ends with it.

const KEPT = "savo-key", $ = (id) => document.getElementById(id);
let key = null, waiting = null;

try { key = sessionStorage.getItem(KEPT); } catch { /* a browser that keeps nothing: the key lives as long as the page */ }

function keep(value) {
  key = value;
  try { if (value) sessionStorage.setItem(KEPT, value); else sessionStorage.removeItem(KEPT); } catch { /* as above */ }
  $("forget").hidden = !value;
}

const signed = (options = {}) => ({ ...options, headers: { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) } });

// Shown once, however many requests wait for it.
function askForKey(why) {
  $("why").textContent = why;
  $("sign-in").hidden = false;
  $("key").focus();
  waiting ||= new Promise((given) => {
    $("sign-in").addEventListener("submit", (event) => {
      event.preventDefault();
      keep($("key").value.trim());
      $("key").value = ""; $("sign-in").hidden = true; waiting = null;
      given();
    }, { once: true });
  });
  return waiting;
}

// Like fetch, and asked again with another key for as long as the gateway refuses this one.
// told: waits(whether a person is waited for), and wanted(): whether the answer still is, once there is a key.
export async function fetchSigned(path, options, told = { waits: () => {}, wanted: () => true }) {
  for (;;) {
    const used = key, answer = await fetch(path, signed(options));
    if (answer.status !== 401) return answer;
    if (used === key) {  // else somebody gave another one in the meantime
      const refusal = await answer.json().catch(() => ({}));
      keep(null);
      told.waits(true);
      await askForKey(used ? `This key is not taken: ${refusal.detail || answer.statusText}` : "Who is asking? This Savo wants an API key or a token.");
      if (!told.wanted()) return answer;
      told.waits(false);
    }
  }
}

$("forget").addEventListener("click", () => keep(null));
keep(key);
