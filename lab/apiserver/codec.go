package apiserver

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
)

// codec is how answers are written.
type codec struct{ info runtime.SerializerInfo }

// codecs are those of the API's own serializers that kube-proxy asks for.
type codecs struct{ all []runtime.SerializerInfo }

func newCodecs() (codecs, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return codecs{}, err
		}
	}
	return codecs{serializer.NewCodecFactory(scheme).SupportedMediaTypes()}, nil
}

// accepted is the first codec that an Accept header names, JSON where it names none that is known.
func (c codecs) accepted(header string) codec {
	for one := range strings.SplitSeq(header, ",") {
		kind, _, err := mime.ParseMediaType(one)
		if err != nil {
			continue
		}
		if kind == runtime.ContentTypeJSON || kind == runtime.ContentTypeProtobuf {
			if info, ok := runtime.SerializerInfoForMediaType(c.all, kind); ok {
				return codec{info}
			}
		}
	}
	info, _ := runtime.SerializerInfoForMediaType(c.all, runtime.ContentTypeJSON) // every scheme has it
	return codec{info}
}

// answer writes one object as a whole answer.
func (c codec) answer(w http.ResponseWriter, status int, o runtime.Object) {
	var b bytes.Buffer
	if err := c.info.Serializer.Encode(o, &b); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", c.info.MediaType)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a reader that is gone needs no answer
}

// stream is the media type of a watch.
func (c codec) stream() string {
	if c.info.MediaType == runtime.ContentTypeJSON {
		return c.info.MediaType
	}
	return c.info.MediaType + ";stream=watch"
}

// frames writes the events of a watch.
type frames struct {
	codec codec
	out   io.Writer
}

func (c codec) frames(w io.Writer) frames {
	return frames{codec: c, out: c.info.StreamSerializer.NewFrameWriter(w)}
}

func (f frames) event(kind watch.EventType, o runtime.Object) error {
	var inner, outer bytes.Buffer
	if err := f.codec.info.Serializer.Encode(o, &inner); err != nil {
		return err
	}
	event := &metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: bytes.TrimSpace(inner.Bytes())}}
	if f.codec.info.MediaType != runtime.ContentTypeJSON {
		event.Object.Raw = inner.Bytes()
	}
	if err := f.codec.info.StreamSerializer.Encode(event, &outer); err != nil {
		return err
	}
	_, err := f.out.Write(outer.Bytes())
	return err
}
