//! HTTP, WebSocket hub and the console.
