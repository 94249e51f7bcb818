package userspace_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// planeNone forwards alone.
const planeNone = "forwarding"

// benchScene is a scene with a plane, and the address that its client asks.
func benchScene(b *testing.B, plane string) (scene, string) {
	b.Helper()
	s := newScene(b)
	if plane == planeNone {
		return s, "10.0.2.2:8080"
	}
	s.translate(b, plane, "")
	return s, "10.96.0.1:80"
}

// BenchmarkStream is one TCP stream from the client to a Service, by each plane: forwarded without NAT by plain routing, through the kernel's NAT,
// and through natlab's, which rewrites every packet.
func BenchmarkStream(b *testing.B) {
	for _, plane := range []string{planeNone, planeKernel, planeBytes, planeWire} {
		b.Run(plane, func(b *testing.B) {
			s, addr := benchScene(b, plane)
			var l net.Listener
			require.NoError(b, s.server.Do(func() (err error) {
				l, err = (&net.ListenConfig{}).Listen(b.Context(), "tcp", "10.0.2.2:8080")
				return err
			}))
			var busy sync.WaitGroup
			busy.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, c)
					_ = c.Close()
				}
			})
			b.Cleanup(func() { _ = l.Close(); busy.Wait() })
			var c net.Conn
			require.NoError(b, s.client.Do(func() (err error) {
				c, err = (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
				return err
			}))
			chunk := make([]byte, 1<<20)
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				_, err := c.Write(chunk)
				require.NoError(b, err)
			}
			require.NoError(b, c.Close())
		})
	}
}

// BenchmarkConnections opens connections to a Service one after another, asks a byte and has it answered.
func BenchmarkConnections(b *testing.B) {
	for _, plane := range []string{planeNone, planeKernel, planeBytes, planeWire} {
		b.Run(plane, func(b *testing.B) {
			s, addr := benchScene(b, plane)
			serve(b, s.server, "tcp", "10.0.2.2:8080")
			require.NoError(b, s.client.Do(func() error { // a thread for each would be most of the time
				for b.Loop() {
					c, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
					if err != nil {
						return err
					}
					if _, err = io.CopyN(io.Discard, c, 4); err != nil {
						return fmt.Errorf("read: %w", err)
					}
					if err := c.Close(); err != nil {
						return err
					}
				}
				return nil
			}))
		})
	}
}
