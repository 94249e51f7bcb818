package apiserver

import (
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"natlab/topology"
	"natlab/topology/kube"
)

// resource is one kind of objects, by its name in a path.
type resource string

// The resources that a kube-proxy reads.
const (
	Nodes          resource = "nodes"
	Services       resource = "services"
	EndpointSlices resource = "endpointslices"
	ServiceCIDRs   resource = "servicecidrs"
)

// resources is the order in which a change is published.
var resources = []resource{Nodes, ServiceCIDRs, Services, EndpointSlices}

// object is an object of the API. It is not changed once it is published.
type object interface {
	metav1.Object
	runtime.Object
}

func keyOf(o object) string { return o.GetNamespace() + "/" + o.GetName() }

// change is one step of the history: what an object was and is; nil for none.
type change struct {
	version  uint64
	of       resource
	was, now object
}

// remembered is how many changes a watch may lag behind before it has to list anew, as etcd's compaction has it.
const remembered = 8192

// Server holds the objects of a cluster, and their changes. Its methods may be called by many goroutines.
type Server struct {
	mu       sync.Mutex // guards what follows
	cluster  topology.Cluster
	objects  map[resource]map[string]object
	version  uint64
	history  []change      // the last ones, in order
	changed  chan struct{} // closed at the next change
	barriers map[topology.Family]barrier
	told     map[string]map[resource]Told // by reader
}

// New serves a cluster.
func New(c topology.Cluster) *Server {
	s := &Server{objects: map[resource]map[string]object{}, changed: make(chan struct{}), told: map[string]map[resource]Told{}, barriers: map[topology.Family]barrier{}}
	for _, r := range resources {
		s.objects[r] = map[string]object{}
	}
	for _, f := range []topology.Family{topology.IPv4, topology.IPv6} {
		s.barriers[f] = barrier{1, time.Now()}
	}
	s.Set(c)
	return s
}

// Set makes the objects those of a cluster: what differs is published to all watches, Services before EndpointSlices. It returns the version
// that they are at then.
func (s *Server) Set(c topology.Cluster) (version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster = c
	s.publish()
	return s.version
}

// Touch changes the EndpointSlice of a family's barrier, whose last change is then now: a kube-proxy that has programmed all of the family that it was
// told before, and this, counts one more in network_programming_duration_seconds. No Service has the slice, so that no rule is written for it.
func (s *Server) Touch(f topology.Family) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.barriers[f] = barrier{s.barriers[f].port%maxPort + 1, time.Now()}
	s.publish()
}

const maxPort = 65535

// barrier is what an EndpointSlice that no Service has tells: a port, and since when.
type barrier struct {
	port int32
	at   time.Time
}

// publish compares the objects with those that there were. The Server is locked.
func (s *Server) publish() {
	wanted := objectsOf(s.cluster, s.barriers)
	for _, r := range resources {
		there := map[string]bool{}
		for _, o := range wanted[r] {
			there[keyOf(o)] = true
			s.put(r, keyOf(o), o)
		}
		for _, key := range slices.Sorted(keysOf(s.objects[r])) {
			if !there[key] {
				s.put(r, key, nil)
			}
		}
	}
	if over := len(s.history) - remembered; over > 0 {
		s.history = slices.Delete(s.history, 0, over)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// put publishes what became of one object; nothing where it is as it was.
func (s *Server) put(r resource, key string, now object) {
	was := s.objects[r][key]
	if was != nil && now != nil {
		now.SetResourceVersion(was.GetResourceVersion())
		if reflect.DeepEqual(was, now) {
			return
		}
	}
	s.version++
	version := strconv.FormatUint(s.version, 10)
	step := change{version: s.version, of: r, was: was, now: now}
	switch now {
	case nil:
		gone, _ := was.DeepCopyObject().(object) // every copy of an object is one
		gone.SetResourceVersion(version)
		step.was = gone
		delete(s.objects[r], key)
	default:
		now.SetResourceVersion(version)
		s.objects[r][key] = now
	}
	s.history = append(s.history, step)
}

// list returns the objects that a selection has, sorted, and the version they are of.
func (s *Server) list(who string, r resource, only selection) ([]object, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []object
	for _, key := range slices.Sorted(keysOf(s.objects[r])) {
		if o := s.objects[r][key]; only.has(o) {
			out = append(out, o)
		}
	}
	s.tell(who, r, len(out))
	return out, s.version
}

// since returns what happened to a selection after a version, up to which version that is, and what is closed when there is more. It is false
// where the history does not go back that far, or not as far ahead.
func (s *Server) since(who string, r resource, only selection, version uint64) (all []watched, now uint64, more <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := s.version - uint64(len(s.history))
	if version < oldest || version > s.version {
		return nil, 0, nil, false
	}
	for _, step := range s.history[version-oldest:] {
		if step.of != r {
			continue
		}
		if w, concerns := only.watched(step); concerns {
			all = append(all, w)
		}
	}
	s.tell(who, r, len(all))
	return all, s.version, s.changed, true
}

// watched is a change as a watch tells it.
type watched struct {
	kind watch.EventType
	now  object
}

// Told is what a reader was sent of a resource.
type Told struct {
	Objects int    // listed ones and changes
	Version uint64 // up to which it was told all
}

// tell notes what a reader is sent. The Server is locked.
func (s *Server) tell(who string, r resource, n int) {
	if s.told[who] == nil {
		s.told[who] = map[resource]Told{}
	}
	s.told[who][r] = Told{s.told[who][r].Objects + n, s.version}
}

// Told is what a reader was sent of a resource since Forget.
func (s *Server) Told(who string, r resource) Told {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told[who][r]
}

// Forget begins the count of a reader anew.
func (s *Server) Forget(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.told, who)
}

// barrierNamespace is where natlab's own objects are.
const barrierNamespace = "natlab-barrier"

// barrierService is a Service that kube-proxy counts among its changes, and writes no rule for: one that is only a name.
func barrierService() *corev1.Service {
	o := &corev1.Service{ObjectMeta: metaOf(barrierNamespace, "name")}
	o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}
	o.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "natlab.invalid"}
	return o
}

// barrierSlice is a family's EndpointSlice of no Service, without an endpoint: what changes is its port. The proxier of the family alone hears of it.
func barrierSlice(f topology.Family, b barrier) *discoveryv1.EndpointSlice {
	name, kind := "slice", discoveryv1.AddressTypeIPv4
	if f == topology.IPv6 {
		name, kind = "slice-6", discoveryv1.AddressTypeIPv6
	}
	o := &discoveryv1.EndpointSlice{ObjectMeta: metaOf(barrierNamespace, name), AddressType: kind}
	o.TypeMeta = metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}
	o.Labels = map[string]string{discoveryv1.LabelServiceName: "slice", discoveryv1.LabelManagedBy: kube.ManagedBy}
	o.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: b.at.UTC().Format(time.RFC3339Nano)}
	o.Ports = []discoveryv1.EndpointPort{{Name: new(""), Protocol: new(corev1.ProtocolTCP), Port: new(b.port)}}
	return o
}
