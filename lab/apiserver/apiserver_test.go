package apiserver_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"natlab/lab/apiserver"
	"natlab/topology"
)

const (
	services = "/api/v1/services"
	sliceOf  = "/apis/discovery.k8s.io/v1/endpointslices"
	// informer is what kube-proxy's informers ask of Services, up to 1.35.
	informer = "labelSelector=%21service.kubernetes.io%2Fheadless%2C%21service.kubernetes.io%2Fservice-proxy-name"
)

// api is a server with the reference cluster, and one reader of it.
type api struct {
	*apiserver.Server

	t       *testing.T
	url     string
	cluster topology.Cluster
}

func open(t *testing.T) *api {
	t.Helper()
	c, err := topology.Reference()
	require.NoError(t, err)
	s := apiserver.New(c)
	h, err := s.Handler("node")
	require.NoError(t, err)
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	return &api{Server: s, t: t, url: web.URL, cluster: c}
}

// get asks as client-go does.
func (a *api) get(ctx context.Context, path, accept string) *http.Response {
	a.t.Helper()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+path, nil)
	require.NoError(a.t, err)
	q.Header.Set("Accept", accept)
	answer, err := http.DefaultClient.Do(q)
	require.NoError(a.t, err)
	a.t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

func (a *api) list(path string, into any) {
	a.t.Helper()
	answer := a.get(a.t.Context(), path, "application/json")
	require.Equal(a.t, http.StatusOK, answer.StatusCode)
	require.NoError(a.t, json.NewDecoder(answer.Body).Decode(into))
}

// event is one of a watch in JSON.
type event struct {
	Type   string
	Object struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`

		Code int
	}
}

func (e event) String() string { return e.Type + " " + e.Object.Namespace + "/" + e.Object.Name }

// watch starts a watch, whose events next returns.
func (a *api) watch(path string) (next func() event, stop func()) {
	a.t.Helper()
	ctx, cancel := context.WithCancel(a.t.Context())
	a.t.Cleanup(cancel)
	in := json.NewDecoder(a.get(ctx, path, "application/json, */*").Body)
	return func() event {
		var e event
		require.NoError(a.t, in.Decode(&e))
		return e
	}, cancel
}

// minio is the Service velero/minio.
func (a *api) minio() *topology.Service {
	for i, s := range a.cluster.Services {
		if s.Name == "minio" {
			return &a.cluster.Services[i]
		}
	}
	a.t.Fatal("no Service velero/minio")
	return nil
}

// What a kube-proxy lists is the cluster, and tells what each object is.
func TestList(t *testing.T) {
	a := open(t)
	var svcs corev1.ServiceList
	a.list(services+"?limit=500&resourceVersion=0&"+informer, &svcs)
	require.Equal(t, "ServiceList", svcs.Kind)
	require.NotEmpty(t, svcs.ResourceVersion)
	var minio *corev1.Service
	for i, s := range svcs.Items {
		if s.Name == "minio" {
			minio = &svcs.Items[i]
		}
	}
	require.NotNil(t, minio)
	require.Equal(t, corev1.ServiceTypeNodePort, minio.Spec.Type)
	require.Equal(t, int32(30450), minio.Spec.Ports[1].NodePort)
	require.Len(t, svcs.Items, len(a.cluster.Services)+1) // the barrier's

	var eps discoveryv1.EndpointSliceList
	a.list(sliceOf, &eps)
	ready := map[string]int{}
	for _, s := range eps.Items {
		for _, e := range s.Endpoints {
			require.True(t, *e.Conditions.Ready)
			ready[s.Labels[discoveryv1.LabelServiceName]+":"+*s.Ports[0].Name]++
		}
	}
	require.Equal(t, 2, ready["minio:console"])
	require.Equal(t, 2, ready["kube-dns:dns-tcp"])

	var nodes corev1.NodeList
	a.list("/api/v1/nodes?fieldSelector=metadata.name%3Dvms100", &nodes)
	require.Len(t, nodes.Items, 1)
	require.Equal(t, "192.168.26.100", nodes.Items[0].Status.Addresses[0].Address)
	var one corev1.Node
	a.list("/api/v1/nodes/vms101", &one)
	require.Equal(t, "vms101", one.Name)
}

func TestSelectors(t *testing.T) {
	a := open(t)
	a.minio().HeadlessLabel = true
	a.Set(a.cluster)
	for _, row := range []struct {
		path string
		want int
	}{
		{services, 4},
		{services + "?" + informer, 3},
		{services + "?fieldSelector=spec.clusterIP%21%3DNone", 4},
		{services + "?fieldSelector=spec.type%3DNodePort", 1},
		{"/api/v1/namespaces/velero/services", 1},
	} {
		var l corev1.ServiceList
		a.list(row.path, &l)
		require.Len(t, l.Items, row.want, row.path)
	}
	require.Equal(t, http.StatusBadRequest, a.get(t.Context(), services+"?fieldSelector=spec.nothing%3Da", "").StatusCode)
	require.Equal(t, http.StatusNotFound, a.get(t.Context(), "/api/v1/nodes/none", "").StatusCode)
	require.Equal(t, http.StatusNotFound, a.get(t.Context(), "/api/v1/pods", "").StatusCode)
}

// A watch begins where the list ended, and tells each change once, in order.
func TestWatch(t *testing.T) {
	a := open(t)
	var l corev1.ServiceList
	a.list(services, &l)
	next, stop := a.watch(services + "?watch=true&resourceVersion=" + l.ResourceVersion)
	defer stop()

	a.minio().Ports[1].NodePort = 30451
	a.Set(a.cluster)
	e := next()
	require.Equal(t, "MODIFIED velero/minio", e.String())
	require.NotEqual(t, l.ResourceVersion, e.Object.ResourceVersion)

	gone := a.cluster.Services[0]
	a.cluster.Services = a.cluster.Services[1:]
	a.Set(a.cluster)
	require.Equal(t, "DELETED "+gone.Namespace+"/"+gone.Name, next().String())
	a.Touch(topology.IPv4) // of another resource: not told
	a.cluster.Services = append(a.cluster.Services, gone)
	a.Set(a.cluster)
	require.Equal(t, "ADDED "+gone.Namespace+"/"+gone.Name, next().String())
	a.Set(a.cluster) // nothing changed
	a.cluster.Services = a.cluster.Services[:len(a.cluster.Services)-1]
	a.Set(a.cluster)
	require.Equal(t, "DELETED "+gone.Namespace+"/"+gone.Name, next().String())
}

// What comes to be selected is added, and what is no longer is deleted.
func TestWatchOfASelection(t *testing.T) {
	a := open(t)
	var l corev1.ServiceList
	a.list(services, &l)
	next, stop := a.watch(services + "?watch=true&" + informer + "&resourceVersion=" + l.ResourceVersion)
	defer stop()
	for _, headless := range []bool{true, false} {
		a.minio().HeadlessLabel = headless
		a.Set(a.cluster)
		require.Equal(t, map[bool]string{true: "DELETED velero/minio", false: "ADDED velero/minio"}[headless], next().String())
	}
}

// A watch that asks for what there is gets it, and then a bookmark that tells so (client-go since 1.35).
func TestWatchList(t *testing.T) {
	a := open(t)
	next, stop := a.watch(services + "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
	defer stop()
	added := 0
	e := next()
	for ; e.Type == "ADDED"; e = next() {
		added++
	}
	require.Equal(t, len(a.cluster.Services)+1, added)
	require.Equal(t, "BOOKMARK", e.Type)
	require.Equal(t, "Service", e.Object.Kind)
	require.Equal(t, "true", e.Object.Annotations[metav1.InitialEventsAnnotationKey])
	a.minio().Ports[1].NodePort = 30451
	a.Set(a.cluster)
	require.Equal(t, "MODIFIED velero/minio", next().String())
}

// A version that the history does not have any more, or not yet, is gone: the reader lists anew.
func TestWatchFromNowhere(t *testing.T) {
	a := open(t)
	next, stop := a.watch(services + "?watch=true&resourceVersion=99999")
	defer stop()
	e := next()
	require.Equal(t, "ERROR", e.Type)
	require.Equal(t, http.StatusGone, e.Object.Code)
	for range 9000 { // more than the history holds
		a.Touch(topology.IPv4)
	}
	next, stop = a.watch(services + "?watch=true&resourceVersion=1")
	defer stop()
	require.Equal(t, http.StatusGone, next().Object.Code)
}

// A watch ends when its time is over.
func TestWatchEnds(t *testing.T) {
	a := open(t)
	body := a.get(t.Context(), services+"?watch=true&resourceVersion=1&timeoutSeconds=1", "application/json").Body
	_, err := io.ReadAll(body)
	require.NoError(t, err)
}

// Told counts what a reader was sent, up to a version.
func TestTold(t *testing.T) {
	a := open(t)
	var l corev1.ServiceList
	a.list(services, &l)
	n := len(a.cluster.Services) + 1
	require.Equal(t, n, a.Told("node", apiserver.Services).Objects)
	next, stop := a.watch(services + "?watch=true&resourceVersion=" + l.ResourceVersion)
	defer stop()
	a.minio().Ports[1].NodePort = 30451
	version := a.Set(a.cluster)
	next()
	require.Equal(t, apiserver.Told{Objects: n + 1, Version: version}, a.Told("node", apiserver.Services))
	require.Zero(t, a.Told("another", apiserver.Services))
	a.Forget("node")
	require.Zero(t, a.Told("node", apiserver.Services))
}

// The barrier's EndpointSlice changes by its port, and tells when.
func TestTouch(t *testing.T) {
	a := open(t)
	barrier := func() (s discoveryv1.EndpointSlice) {
		a.list("/apis/discovery.k8s.io/v1/namespaces/natlab-barrier/endpointslices/slice", &s)
		return s
	}
	before := barrier()
	a.Set(a.cluster)
	require.Equal(t, before, barrier())
	a.Touch(topology.IPv4)
	after := barrier()
	require.NotEqual(t, *before.Ports[0].Port, *after.Ports[0].Port)
	require.NotEqual(t, before.Annotations[corev1.EndpointsLastChangeTriggerTime], after.Annotations[corev1.EndpointsLastChangeTriggerTime])
	require.Empty(t, after.Endpoints)
}

// Each family of a cluster has a barrier of its own, which the other's Touch leaves alone.
func TestTouchOfAFamily(t *testing.T) {
	a := open(t)
	c, err := topology.DualStack()
	require.NoError(t, err)
	a.Set(c)
	barrier := func(name string) (s discoveryv1.EndpointSlice) {
		a.list("/apis/discovery.k8s.io/v1/namespaces/natlab-barrier/endpointslices/"+name, &s)
		return s
	}
	before4, before6 := barrier("slice"), barrier("slice-6")
	require.Equal(t, discoveryv1.AddressTypeIPv6, before6.AddressType)
	a.Touch(topology.IPv6)
	require.Equal(t, before4, barrier("slice"))
	require.NotEqual(t, *before6.Ports[0].Port, *barrier("slice-6").Ports[0].Port)
}

// kube-proxy asks for protobuf unless it is configured otherwise: lists are in Kubernetes' envelope, events behind their length.
func TestProtobuf(t *testing.T) {
	a := open(t)
	const accept = "application/vnd.kubernetes.protobuf,application/json"
	answer := a.get(t.Context(), services, accept)
	require.Equal(t, "application/vnd.kubernetes.protobuf", answer.Header.Get("Content-Type"))
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(b, []byte("k8s\x00")))
	require.Contains(t, string(b), "minio")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in := bufio.NewReader(a.get(ctx, services+"?watch=true", accept).Body)
	size := make([]byte, 4)
	for range len(a.cluster.Services) + 1 {
		_, err = io.ReadFull(in, size)
		require.NoError(t, err)
		frame := make([]byte, binary.BigEndian.Uint32(size))
		_, err = io.ReadFull(in, frame)
		require.NoError(t, err)
		var e metav1.WatchEvent
		require.NoError(t, e.Unmarshal(frame))
		require.Equal(t, "ADDED", e.Type)
		require.True(t, bytes.HasPrefix(e.Object.Raw, []byte("k8s\x00")))
	}
}

// Events are thrown away, and nothing else can be written.
func TestWrites(t *testing.T) {
	a := open(t)
	for path, want := range map[string]int{
		"/apis/events.k8s.io/v1/namespaces/default/events": http.StatusCreated, services: http.StatusMethodNotAllowed,
	} {
		answer, err := http.Post(a.url+path, "application/json", bytes.NewReader(nil)) //nolint:noctx // it is answered at once
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, want, answer.StatusCode, path)
	}
}

// Every field of a Service that kube-proxy reads gets through.
func TestObjects(t *testing.T) {
	a := open(t)
	s := a.minio()
	s.Type, s.ExternalPolicy, s.InternalPolicy = topology.LoadBalancerType, topology.PolicyLocal, topology.PolicyLocal
	s.AffinitySeconds, s.HealthCheckNodePort, s.TrafficDistribution = 600, 32000, "PreferClose"
	s.Ports[0].Endpoints[0].ZoneHints, s.Ports[0].Endpoints[0].Terminating = []string{"a"}, true
	a.Set(a.cluster)
	var got corev1.Service
	a.list("/api/v1/namespaces/velero/services/minio", &got)
	require.Equal(t, corev1.ServiceTypeLoadBalancer, got.Spec.Type)
	require.Equal(t, corev1.ServiceExternalTrafficPolicyLocal, got.Spec.ExternalTrafficPolicy)
	require.Equal(t, corev1.ServiceInternalTrafficPolicyLocal, *got.Spec.InternalTrafficPolicy)
	require.Equal(t, int32(600), *got.Spec.SessionAffinityConfig.ClientIP.TimeoutSeconds)
	require.Equal(t, int32(32000), got.Spec.HealthCheckNodePort)
	require.Equal(t, "PreferClose", *got.Spec.TrafficDistribution)
	var eps discoveryv1.EndpointSliceList
	a.list(fmt.Sprintf("%s?labelSelector=%s%%3Dminio", sliceOf, discoveryv1.LabelServiceName), &eps)
	hinted := 0
	for _, l := range eps.Items {
		for _, e := range l.Endpoints {
			if e.Hints != nil {
				hinted++
				require.True(t, *e.Conditions.Terminating)
				require.Equal(t, "a", e.Hints.ForZones[0].Name)
			}
		}
	}
	require.Equal(t, 1, hinted)
}
