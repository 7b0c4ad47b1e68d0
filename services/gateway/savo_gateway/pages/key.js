// Authentication of the page: asks for an API key or a token when the gateway requires one, and keeps it for this tab.

const STORAGE_KEY = "savo-key", $ = (id) => document.getElementById(id);
let key = null, pending = null;

// Without session storage the key lives as long as the page.
try { key = sessionStorage.getItem(STORAGE_KEY); } catch { /* see above */ }

function setKey(value) {
  key = value;
  try {
    if (value) sessionStorage.setItem(STORAGE_KEY, value); else sessionStorage.removeItem(STORAGE_KEY);
  } catch { /* see above */ }
  $("forget").hidden = !value;
}

function withKey(options = {}) {
  const authorization = key ? { Authorization: `Bearer ${key}` } : {};
  return { ...options, headers: { ...options.headers, ...authorization } };
}

// One form for all requests that wait for a key.
function askForKey(reason) {
  $("reason").textContent = reason;
  $("sign-in").hidden = false;
  $("key").focus();
  pending ||= new Promise((resolve) => {
    $("sign-in").addEventListener("submit", (event) => {
      event.preventDefault();
      setKey($("key").value.trim());
      $("key").value = ""; $("sign-in").hidden = true; pending = null;
      resolve();
    }, { once: true });
  });
  return pending;
}

// Like fetch; a request that the gateway refuses with 401 is sent again with the next key.
// callbacks: waiting(whether the page waits for a key), isCurrent(): whether the answer is still needed.
export async function fetchWithKey(path, options, callbacks = { waiting: () => {}, isCurrent: () => true }) {
  for (;;) {
    const used = key, answer = await fetch(path, withKey(options));
    if (answer.status !== 401) return answer;
    if (used === key) {  // otherwise another request got a new key in the meantime
      const problem = await answer.json().catch(() => ({}));
      setKey(null);
      callbacks.waiting(true);
      const refused = `The key was refused: ${problem.detail || answer.statusText}`;
      await askForKey(used ? refused : "This server requires an API key or a token.");
      if (!callbacks.isCurrent()) return answer;
      callbacks.waiting(false);
    }
  }
}

$("forget").addEventListener("click", () => setKey(null));
setKey(key);
