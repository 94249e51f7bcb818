package conformance

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"natlab/lab/netns"
	"natlab/scenarios"
)

// doHealth: health NAME from=CLIENT NODE=STATUS... asks the health check node port of a Service in nodes: 200 where the node has endpoints, 503 where
// it has none, refused where nobody listens. What is not yet so may become so.
func (t *stage) doHealth(_ scenarios.Script, not bool, args []string) error {
	if not || len(args) < 3 || t.services[args[0]] == nil {
		return fmt.Errorf("usage: health NAME from=CLIENT NODE=200|503|refused..., of a Service that is there")
	}
	from, ok := strings.CutPrefix(args[1], "from=")
	client, known := t.cast[from]
	if !ok || !known {
		return fmt.Errorf("%q: want from=CLIENT of the cast", args[1])
	}
	h, err := t.world.lab.Handle(client.member)
	if err != nil {
		return err
	}
	for _, a := range args[2:] {
		name, want, _ := strings.Cut(a, "=")
		node, ok := t.cast[name]
		if !ok {
			return fmt.Errorf("%q: want a node of the cast", a)
		}
		at := netip.AddrPortFrom(node.address(t.families[0]), t.services[args[0]].health)
		got := ""
		patient := t.limit / patience
		for deadline := time.Now().Add(patient); got != want && time.Now().Before(deadline) && t.ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			got = getStatus(t.ctx, h, at, patient)
		}
		t.rows = append(t.rows, Row{Key: from + " -> " + name + " health check -> " + got, Family: t.families[0].String(), Protocol: "tcp", End: got})
		if got != want {
			return fmt.Errorf("%s asks %s at %s: want %s, got %s", from, name, at, want, got)
		}
	}
	return nil
}

// getStatus is the status of an HTTP request, or how it ended without one: refused, or no answer.
func getStatus(ctx context.Context, h netns.Handle, at netip.AddrPort, patient time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", at.String())
		return err
	})
	if err != nil {
		return "refused"
	}
	defer conn.Close() //nolint:errcheck // the status is the news
	_ = conn.SetDeadline(time.Now().Add(patient))
	if _, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: natlab\r\nConnection: close\r\n\r\n"); err != nil {
		return "no answer"
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "no answer"
	}
	_ = r.Body.Close() // the status is the news
	return strconv.Itoa(r.StatusCode)
}
