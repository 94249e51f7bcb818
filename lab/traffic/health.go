package traffic

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// The headers by which a health server of natlab's tells as whom it saw the client.
const (
	peerHeader  = "Natlab-Peer"
	localHeader = "Natlab-Local"
)

// ServeHTTP answers HTTP at an address by a handler until the Closer is closed. A client that is too slow is given up after some seconds.
func ServeHTTP(ns Namespace, at netip.AddrPort, h http.Handler) (io.Closer, error) {
	var l net.Listener
	err := ns.Do(func() (err error) {
		var config net.ListenConfig
		l, err = config.Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serve HTTP on %s: %w", at, err)
	}
	told := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(peerHeader, r.RemoteAddr)
		w.Header().Set(localHeader, at.String())
		h.ServeHTTP(w, r)
	})
	s := &http.Server{Handler: told, ReadHeaderTimeout: httpPatience}
	go func() { _ = s.Serve(l) }() // it ends with the Close of s
	return s, nil
}

const httpPatience = 10 * time.Second

// Health is what a health check answered.
type Health struct {
	Status    int    // HTTP's
	Namespace string // the Service
	Name      string
	Endpoints int // on the node
}

// String is "503: 0 local endpoints of default/web", and "200" of a kube-proxy that tells of itself.
func (h Health) String() string {
	if h.Name == "" {
		return strconv.Itoa(h.Status)
	}
	return fmt.Sprintf("%d: %d local endpoints of %s/%s", h.Status, h.Endpoints, h.Namespace, h.Name)
}

// CheckHealth asks by a Conn that Start made as a load balancer checks a Service's health, or a kube-proxy's, and closes it. A kube-proxy does not tell as whom
// it saw the client: then the Answer has the client's own address.
func (c *Conn) CheckHealth(ctx context.Context) (Answer, Health, error) {
	defer func() { _ = c.Close() }() // the answer or the failure is the news
	defer c.until(ctx)()
	if err := c.connected(); err != nil {
		return Answer{}, Health{}, c.failure(err)
	}
	c.enter(Asking)
	if err := c.write([]byte("GET /healthz HTTP/1.1\r\nHost: " + c.tuple.Dst().String() + "\r\nConnection: close\r\n\r\n")); err != nil {
		return Answer{}, Health{}, c.failure(err)
	}
	var all []byte
	for buf := make([]byte, maxLine); ; {
		n, err := c.read(buf)
		if err != nil {
			return Answer{}, Health{}, c.failure(err)
		}
		if n == 0 {
			break
		}
		all = append(all, buf[:n]...)
	}
	a, h, err := c.readHealth(all)
	if err != nil {
		f := c.failure(err)
		f.Kind = Garbled
		return Answer{}, Health{}, f
	}
	c.enter(Closed)
	return a, h, nil
}

func (c *Conn) readHealth(all []byte) (Answer, Health, error) {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), nil)
	if err != nil {
		return Answer{}, Health{}, err
	}
	var body struct {
		Service        struct{ Namespace, Name string }
		LocalEndpoints int
	}
	err = json.NewDecoder(r.Body).Decode(&body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return Answer{}, Health{}, err
	}
	a := Answer{Server: "kube-proxy", Endpoint: c.tuple.Dst(), PeerSeen: c.Local(), Local: c.Local(), From: c.tuple.Dst()}
	if peer, err := netip.ParseAddrPort(r.Header.Get(peerHeader)); err == nil {
		a.PeerSeen = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	}
	if local, err := netip.ParseAddrPort(r.Header.Get(localHeader)); err == nil {
		a.Endpoint = local
	}
	return a, Health{r.StatusCode, body.Service.Namespace, body.Service.Name, body.LocalEndpoints}, nil
}
