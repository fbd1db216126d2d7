// A server on loopback between a program and Quire: records requests, and makes faults where it is told to.
import http from 'node:http';

/**
 * Starts a proxy.
 *
 * fault(n, body): what happens to the nth request (from 0): null, {answer: {status, headers, body}}, or {cutAfter: events}.
 */
export async function startProxy(port, isMain, fault) {
  const records = [];
  let main = 0;
  const listeners = [];
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on('data', chunk => chunks.push(chunk));
    request.on('end', () => {
      const sent = Buffer.concat(chunks);
      let body = null;
      try {
        body = JSON.parse(sent.toString());
      } catch {
        // no JSON: a GET
      }
      const record = {method: request.method, path: request.url, body, at: Date.now(), status: 0, events: 0, main: false,
        whole: false, departed: false, retry: request.headers['x-stainless-retry-count']};
      record.main = request.method === 'POST' && body !== null && isMain(body, request.url);
      records.push(record);
      const wanted = record.main ? fault(main++, body) : null;
      if (wanted?.answer) {
        record.status = wanted.answer.status;
        response.writeHead(wanted.answer.status, wanted.answer.headers);
        response.end(wanted.answer.body);
        return;
      }
      if (wanted?.cutAfter === 0) {
        request.socket.destroy();
        return;
      }
      const headers = {...request.headers, host: `127.0.0.1:${port}`};
      const upstream = http.request({host: '127.0.0.1', port, method: request.method, path: request.url, headers},
          answer => {
            record.status = answer.statusCode;
            response.writeHead(answer.statusCode, answer.headers);
            response.flushHeaders();
            const type = answer.headers['content-type'] ?? '';
            const end = type.startsWith('text/event-stream') ? '\n\n' : type.includes('ndjson') ? '\n' : null;
            let rest = '';
            let cut = false;
            answer.on('data', chunk => {
              if (cut) {
                return;
              }
              if (end === null) {
                if (wanted?.cutAfter) {
                  cut = true;
                  response.write(chunk.subarray(0, chunk.length / 2), () => request.socket.destroy());
                } else {
                  response.write(chunk);
                }
                return;
              }
              rest += chunk.toString();
              let at;
              while (!cut && (at = rest.indexOf(end)) >= 0) {
                const event = rest.slice(0, at + end.length);
                rest = rest.slice(at + end.length);
                record.events++;
                cut = record.events === wanted?.cutAfter;
                response.write(event, () => cut && record.events === wanted.cutAfter && request.socket.destroy());
                listeners.forEach(listener => listener(record));
              }
            });
            answer.on('end', () => {
              if (!cut) {
                record.whole = true;
                response.end(rest);
              }
            });
            answer.on('error', () => request.socket.destroy());
          });
      upstream.on('error', () => request.socket.destroy());
      response.on('close', () => {
        record.departed = !response.writableFinished;
        upstream.destroy();
      });
      upstream.end(sent);
    });
  });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    base: `http://127.0.0.1:${server.address().port}`,
    records,
    onEvent: listener => listeners.push(listener),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
