import { Event, ServerConnection, ServiceManager } from '@jupyterlab/services';
import { URLExt } from '@jupyterlab/coreutils';
import { IRefusal, Refused } from '../panel/contract';
import { interrupt } from './interrupt';
import { ITranslate } from '../panel/text';
import { IWire } from './follow';
import { pushOf } from './push';

/** Send to our routes as JupyterLab sends: token, cookie, XSRF and base URL are its own. */
async function send<T>(settings: ServerConnection.ISettings, t: ITranslate, route: string, init: RequestInit): Promise<T> {
  const url = URLExt.join(settings.baseUrl, 'gpuplug', route);
  const answer = await ServerConnection.makeRequest(url, init, settings);
  const body: unknown = await answer.json().catch(() => null);
  if (!answer.ok) {
    throw new Refused(refusal(body, answer), answer.status);
  }
  if (body === null || typeof body !== 'object') {
    throw new Error(t.__("the server's answer to %1 is no JSON", route));
  }
  return body as T;
}

function refusal(body: unknown, answer: Response): IRefusal {
  const { message, hint, billing, reason } = (body ?? {}) as Partial<IRefusal>;
  return { message: message || `${answer.status} ${answer.statusText}`, hint, billing, reason };
}

/** The Jupyter server of this page. */
export function jupyterWire(
  services: ServiceManager.IManager,
  t: ITranslate,
  notebook: () => string | null,
  open: (path: string) => void
): IWire {
  const settings = services.serverSettings;
  return {
    get: route => send(settings, t, route, { cache: 'no-cache' }),
    post: (route, body, signal) => send(settings, t, route, { method: 'POST', body: JSON.stringify(body), signal }),
    pushes: slot => {
      const take = (_: unknown, emission: Event.Emission) => {
        const push = pushOf(emission);
        if (push) {
          slot(push);
        }
      };
      services.events.stream.connect(take);
      return () => services.events.stream.disconnect(take);
    },
    interrupt: job => interrupt(services, job),
    notebook,
    open
  };
}
