import { Event, ServerConnection, ServiceManager } from '@jupyterlab/services';
import { URLExt } from '@jupyterlab/coreutils';
import { IPush, IRefusal, Refused } from '../panel/contract';
import { interrupt } from './interrupt';
import { IWire } from './follow';

const SCHEMA = 'https://events.gpuplug.dev/panel/v1';

/** Send to our routes as JupyterLab sends: token, cookie, XSRF and base URL are its own. */
async function send<T>(settings: ServerConnection.ISettings, route: string, init: RequestInit): Promise<T> {
  const url = URLExt.join(settings.baseUrl, 'gpuplug', route);
  const answer = await ServerConnection.makeRequest(url, init, settings);
  const body: unknown = await answer.json().catch(() => null);
  if (!answer.ok) {
    throw new Refused(refusal(body, answer), answer.status);
  }
  if (body === null || typeof body !== 'object') {
    throw new Error(`the server's answer to ${route} is no JSON`);
  }
  return body as T;
}

function refusal(body: unknown, answer: Response): IRefusal {
  const { message, hint, billing, reason } = (body ?? {}) as Partial<IRefusal>;
  return { message: message || `${answer.status} ${answer.statusText}`, hint, billing, reason };
}

/** Read an emission, whose parts are JSON as text; one that makes no sense counts as a gap, after which the state is asked for. */
function pushOf(emission: Event.Emission): IPush {
  const { revision, now, parts, prices_revision } = emission as unknown as Record<string, unknown>;
  try {
    const read: unknown = JSON.parse(String(parts));
    if (typeof revision === 'number' && typeof now === 'string' && read !== null && typeof read === 'object') {
      return { revision, now, parts: read, prices_revision: Number(prices_revision) };
    }
  } catch {
    // truncated on its way
  }
  return { revision: NaN, now: '', parts: {}, prices_revision: NaN };
}

/** The Jupyter server of this page. */
export function jupyterWire(services: ServiceManager.IManager, notebook: () => string | null): IWire {
  const settings = services.serverSettings;
  return {
    get: route => send(settings, route, { cache: 'no-cache' }),
    post: (route, body) => send(settings, route, { method: 'POST', body: JSON.stringify(body) }),
    pushes: slot => {
      const take = (_: unknown, emission: Event.Emission) => {
        if (emission.schema_id === SCHEMA) {
          slot(pushOf(emission));
        }
      };
      services.events.stream.connect(take);
      return () => services.events.stream.disconnect(take);
    },
    interrupt: name => interrupt(services, name),
    notebook
  };
}
