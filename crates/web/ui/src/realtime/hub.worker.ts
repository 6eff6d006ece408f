/** The hub in a SharedWorker: one live connection for all tabs, free of hidden-tab throttling. */
import { Hub, type FromTab, type ToTab } from './hub'

declare const self: SharedWorkerGlobalScope
const hub = new Hub()

self.onconnect = (connection) => {
  const port = connection.ports[0]
  if (!port) return
  const send = (message: ToTab) => port.postMessage(message)
  port.onmessage = (message: MessageEvent<FromTab>) => hub.receive(send, message.data)
}
