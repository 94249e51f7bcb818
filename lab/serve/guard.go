package serve

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guarded lets through what the page itself asks, and what somebody asks by hand. A page of somebody else must not: not by a name of its own that
// it has led to this address (DNS rebinding), and not by a form or a script of its own, for which browsers give the Origin.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if !s.known(r.Host) {
			http.Error(w, "this server is not asked by that name: use its address, or localhost", http.StatusMisdirectedRequest)
			return
		}
		if from := r.Header.Get("Origin"); from != "" && from != "http://"+r.Host {
			http.Error(w, "a page of somebody else does not get in here", http.StatusForbidden)
			return
		}
		switch r.Header.Get("Sec-Fetch-Site") {
		case "", "same-origin", "none":
		default:
			if r.Method != http.MethodGet || r.URL.Path != "/" { // a link from elsewhere may lead here
				http.Error(w, "a page of somebody else does not get in here", http.StatusForbidden)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// known reports whether a request's Host is an address, localhost, or the name that somebody asked to listen on: no name that another may give.
func (s *Server) known(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return strings.EqualFold(name, "localhost") || s.host != "" && strings.EqualFold(name, s.host)
}
