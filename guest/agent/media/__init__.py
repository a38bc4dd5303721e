"""The live view: the screen by WebRTC, and hands over its data channels (`oriel-webrtc.service`)."""
