/** How often a request of unknown outcome is sent again. Every route of the API may be asked again safely; an order needs
 * its key for that, which `createTillroll` sees to. */
export interface RetryOptions {
  /** Tries in all. */
  attempts?: number;
  /** Milliseconds that one try may take. */
  answerWithin?: number;
  /** The longest wait between two tries in milliseconds, whatever Retry-After asks for. */
  longestWait?: number;
  fetch?: typeof globalThis.fetch;
}

const UNKNOWN = new Set([429, 502, 503, 504]);
const FIRST_WAIT = 300; // milliseconds; doubled each time

/** A `fetch` that repeats the very same request while its outcome is unknown: no answer, 429, 502, 503, 504. */
export function retryingFetch(options: RetryOptions = {}): (request: Request) => Promise<Response> {
  const { attempts = 5, answerWithin = 8000, longestWait = 30_000, fetch = globalThis.fetch } = options;
  return async (request) => {
    for (let attempt = 1; ; attempt += 1) {
      let answer: Response | undefined;
      try {
        answer = await fetchWithin(fetch, request.clone(), answerWithin);
        if (!UNKNOWN.has(answer.status) || attempt >= attempts) return answer;
      } catch (fault) {
        if (request.signal.aborted || attempt >= attempts) throw fault;
      }
      await answer?.body?.cancel();
      await pause(Math.min(waitAsked(answer) ?? FIRST_WAIT * 2 ** (attempt - 1), longestWait), request.signal);
    }
  };
}

async function fetchWithin(fetch: typeof globalThis.fetch, request: Request, milliseconds: number): Promise<Response> {
  const late = new AbortController();
  const giveUp = (): void => late.abort(request.signal.reason);
  const timer = setTimeout(() => late.abort(new Error(`no answer within ${milliseconds} ms`)), milliseconds);
  request.signal.addEventListener("abort", giveUp);
  try {
    return await fetch(request, { signal: late.signal });
  } finally {
    clearTimeout(timer);
    request.signal.removeEventListener("abort", giveUp);
  }
}

/** Retry-After in milliseconds, as seconds or as a date. */
function waitAsked(answer: Response | undefined): number | undefined {
  const asked = answer?.headers.get("Retry-After");
  if (!asked) return undefined;
  const milliseconds = /^\d+$/.test(asked) ? Number(asked) * 1000 : Date.parse(asked) - Date.now();
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds);
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
