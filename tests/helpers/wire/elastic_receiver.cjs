// Runs the receiver on free ports of loopback, and writes as lines of JSON where it listens
// and what it decoded. It ends with its standard input, so that it outlives no test run.
'use strict';

const {MockOtlpServer} = require('@elastic/mockotlpserver');

// As the JSON of protobuf: bytes in base64, 64-bit integers and what is no number as text.
function plain(value) {
    if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
    if (value === null || typeof value !== 'object') return value;
    if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
    if ('unsigned' in value && 'low' in value) return value.toString();
    if (Array.isArray(value)) return value.map(plain);
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}

function write(line) {
    process.stdout.write(JSON.stringify(line) + '\n');
}

// A request with a marker is the reader's own: it tells that all before it have been written.
function writer(signal) {
    return (request) =>
        write('marker' in request ? {marker: request.marker} : {signal, request: plain(request)});
}

const server = new MockOtlpServer({
    logLevel: 'warn',
    services: ['http', 'grpc'],
    httpHostname: '127.0.0.1',
    httpPort: 0,
    grpcHostname: '127.0.0.1',
    grpcPort: 0,
    onTrace: writer('traces'),
    onMetrics: writer('metrics'),
    onLogs: writer('logs'),
});

process.stdin.on('end', () => process.exit(0)).resume();
server.start().then(() => write({http: server.httpUrl.origin, grpc: server.grpcUrl.origin}));
