package apiserver

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// groups is where each resource is in the API, and what its lists are.
var groups = map[resource]struct {
	prefix, version, kind string
	list                  func(metav1.ListMeta, []object) runtime.Object
}{
	Nodes: {"/api/v1", "v1", "Node", func(m metav1.ListMeta, all []object) runtime.Object {
		l := &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}, ListMeta: m, Items: []corev1.Node{}}
		return fill(l, &l.Items, all)
	}},
	Services: {"/api/v1", "v1", "Service", func(m metav1.ListMeta, all []object) runtime.Object {
		l := &corev1.ServiceList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceList"}, ListMeta: m, Items: []corev1.Service{}}
		return fill(l, &l.Items, all)
	}},
	EndpointSlices: {"/apis/discovery.k8s.io/v1", "discovery.k8s.io/v1", "EndpointSlice", func(m metav1.ListMeta, all []object) runtime.Object {
		l := &discoveryv1.EndpointSliceList{TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSliceList"}, ListMeta: m, Items: []discoveryv1.EndpointSlice{}}
		return fill(l, &l.Items, all)
	}},
	ServiceCIDRs: {"/apis/networking.k8s.io/v1", "networking.k8s.io/v1", "ServiceCIDR", func(m metav1.ListMeta, all []object) runtime.Object {
		l := &networkingv1.ServiceCIDRList{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "ServiceCIDRList"}, ListMeta: m, Items: []networkingv1.ServiceCIDR{}}
		return fill(l, &l.Items, all)
	}},
}

// fill puts objects, all of one type, into a list's items.
func fill[T any](list runtime.Object, items *[]T, all []object) runtime.Object {
	for _, o := range all {
		if one, ok := any(o).(*T); ok {
			*items = append(*items, *one)
		}
	}
	return list
}

// empty is an object of a resource without anything in it, as a bookmark has it.
func empty(r resource) object {
	meta := metav1.TypeMeta{APIVersion: groups[r].version, Kind: groups[r].kind}
	switch r {
	case Services:
		return &corev1.Service{TypeMeta: meta}
	case EndpointSlices:
		return &discoveryv1.EndpointSlice{TypeMeta: meta}
	case ServiceCIDRs:
		return &networkingv1.ServiceCIDR{TypeMeta: meta}
	case Nodes:
	}
	return &corev1.Node{TypeMeta: meta}
}

// Handler answers one reader, of that name in Told.
func (s *Server) Handler(who string) (http.Handler, error) {
	c, err := newCodecs()
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		accepted := c.accepted(q.Header.Get("Accept"))
		if strings.Contains(q.URL.Path, "/events") {
			accepted.answer(w, http.StatusCreated, status(http.StatusCreated, metav1.StatusReasonUnknown, "thrown away"))
			return
		}
		at, ok := parsePath(q.URL.Path)
		switch {
		case !ok:
			accepted.answer(w, http.StatusNotFound, status(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource"))
		case q.Method != http.MethodGet:
			accepted.answer(w, http.StatusMethodNotAllowed, status(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "natlab's API is read only"))
		default:
			s.get(w, q, accepted, reader{who, at})
		}
	}), nil
}

// place is what a path leads to.
type place struct {
	of              resource
	namespace, name string
}

// parsePath reads PREFIX[/namespaces/NAMESPACE]/RESOURCE[/NAME].
func parsePath(path string) (place, bool) {
	for _, r := range resources {
		rest, ok := strings.CutPrefix(path, groups[r].prefix+"/")
		if !ok {
			continue
		}
		parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
		at := place{of: r}
		if len(parts) > 2 && parts[0] == "namespaces" {
			at.namespace, parts = parts[1], parts[2:]
		}
		if parts[0] != string(r) || len(parts) > 2 {
			continue
		}
		if len(parts) == 2 {
			at.name = parts[1]
		}
		return at, true
	}
	return place{}, false
}

// reader is who asks, and for what.
type reader struct {
	who string
	place
}

func (s *Server) get(w http.ResponseWriter, q *http.Request, c codec, by reader) {
	query := q.URL.Query()
	only, err := selectionOf(by.namespace, query)
	if err != nil {
		c.answer(w, http.StatusBadRequest, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error()))
		return
	}
	if by.name != "" {
		s.one(w, c, by)
		return
	}
	if watching, _ := strconv.ParseBool(query.Get("watch")); watching { // what is no boolean is none
		s.watch(w, q, c, by, only)
		return
	}
	all, version := s.list(by.who, by.of, only)
	c.answer(w, http.StatusOK, groups[by.of].list(metav1.ListMeta{ResourceVersion: strconv.FormatUint(version, 10)}, all))
}

func (s *Server) one(w http.ResponseWriter, c codec, by reader) {
	s.mu.Lock()
	o := s.objects[by.of][by.namespace+"/"+by.name]
	s.mu.Unlock()
	if o == nil {
		c.answer(w, http.StatusNotFound, status(http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("%s %q not found", by.of, by.name)))
		return
	}
	c.answer(w, http.StatusOK, o)
}

func status(code int, reason metav1.StatusReason, message string) *metav1.Status {
	out := &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: reason, Message: message, Code: int32(code)}
	if code < http.StatusBadRequest {
		out.Status = metav1.StatusSuccess
	}
	return out
}

// bookmarkPeriod is how often a silent watch is told the version it is at.
const bookmarkPeriod = time.Minute

// watch tells what happens until the reader goes, or its time is over.
func (s *Server) watch(w http.ResponseWriter, q *http.Request, c codec, by reader, only selection) {
	query := q.URL.Query()
	flush := func() {}
	if f, ok := w.(http.Flusher); ok {
		flush = f.Flush
	}
	w.Header().Set("Content-Type", c.stream())
	out := c.frames(w)
	version, initial := uint64(0), true
	if text := query.Get("resourceVersion"); text != "" && text != "0" && query.Get("sendInitialEvents") != "true" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			c.answer(w, http.StatusBadRequest, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, "resourceVersion: "+text))
			return
		}
		version, initial = n, false
	}
	w.WriteHeader(http.StatusOK)
	if initial {
		var all []object
		all, version = s.list(by.who, by.of, only)
		for _, o := range all {
			if out.event(watch.Added, o) != nil {
				return
			}
		}
		if query.Get("sendInitialEvents") == "true" && out.event(watch.Bookmark, bookmark(by.of, version, true)) != nil {
			return
		}
	}
	flush()
	var over <-chan time.Time
	if n, err := strconv.Atoi(query.Get("timeoutSeconds")); err == nil && n > 0 {
		timer := time.NewTimer(time.Duration(n) * time.Second)
		defer timer.Stop()
		over = timer.C
	}
	s.follow(q, out, by, only, following{version: version, bookmarks: query.Get("allowWatchBookmarks") == "true", over: over, flush: flush})
}

// following is how a watch goes on after its first events.
type following struct {
	version   uint64 // up to which all was told
	bookmarks bool
	over      <-chan time.Time // nil for no end
	flush     func()
}

func (s *Server) follow(q *http.Request, out frames, by reader, only selection, f following) {
	tick := time.NewTicker(bookmarkPeriod)
	defer tick.Stop()
	for {
		all, now, more, ok := s.since(by.who, by.of, only, f.version)
		if !ok {
			_ = out.event(watch.Error, status(http.StatusGone, metav1.StatusReasonExpired, fmt.Sprintf("too old resource version: %d", f.version)))
			return
		}
		for _, one := range all {
			if out.event(one.kind, one.now) != nil {
				return
			}
		}
		f.version = now
		f.flush()
		select {
		case <-more:
		case <-tick.C:
			if f.bookmarks && out.event(watch.Bookmark, bookmark(by.of, f.version, false)) != nil {
				return
			}
		case <-f.over:
			return
		case <-q.Context().Done():
			return
		}
	}
}

// bookmark tells a version, and whether the objects that there were have all been told.
func bookmark(r resource, version uint64, initial bool) object {
	o := empty(r)
	o.SetResourceVersion(strconv.FormatUint(version, 10))
	if initial {
		o.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return o
}
