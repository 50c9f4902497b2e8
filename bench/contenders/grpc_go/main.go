// An ext_proc server as a Go engineer would write it: grpc-go and go-control-plane's own types.
//
// It knows one rollout from its command line and decides as docs/assignment.md says.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/bits"
	"net"
	"os"
	"os/signal"
	"syscall"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/spaolacci/murmur3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// Far above what a request needs, so that no window is ever updated for one.
const window = 16 << 20

type task struct {
	rollout, salt, header, baseline, candidate string
	percent                                    uint64
}

// unit returns the first non-empty value of the unit's header; empty if there is none.
func (t *task) unit(request *extprocv3.ProcessingRequest) []byte {
	for _, header := range request.GetRequestHeaders().GetHeaders().GetHeaders() {
		if header.Key == t.header && len(header.RawValue) > 0 {
			return header.RawValue
		}
	}
	return nil
}

// decide returns a unit's variant and, unless the unit is empty, its pseudonym.
func (t *task) decide(unit []byte) (variant, pseudonym string) {
	if len(unit) == 0 {
		return t.baseline, ""
	}
	key := make([]byte, 0, len(t.salt)+1+len(unit))
	key = append(append(append(key, t.salt...), 0), unit...)
	position, second := murmur3.Sum128(key)
	variant = t.baseline
	if t.percent >= 100 {
		variant = t.candidate
	} else if threshold, _ := bits.Div64(t.percent, 0, 100); position < threshold {
		variant = t.candidate
	}
	return variant, fmt.Sprintf("%016x", second)
}

func (t *task) answer(request *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	variant, unit := t.decide(t.unit(request))
	decision := map[string]*structpb.Value{
		"variant": structpb.NewStringValue(variant),
		"version": structpb.NewStringValue("1"),
		"reason":  structpb.NewStringValue("no_unit"),
	}
	if unit != "" {
		decision["reason"] = structpb.NewStringValue("weight")
		decision["unit"] = structpb.NewStringValue(unit)
	}
	return &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestHeaders{
			RequestHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{
				HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{{
					Header:       &corev3.HeaderValue{Key: "x-canary-" + t.rollout, RawValue: []byte(variant)},
					AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
				}}},
				ClearRouteCache: true,
			}},
		},
		DynamicMetadata: tree("canary", tree(t.rollout, &structpb.Struct{Fields: decision})),
	}
}

func tree(name string, inner *structpb.Struct) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{name: structpb.NewStructValue(inner)}}
}

type processor struct {
	extprocv3.UnimplementedExternalProcessorServer
	task task
}

// Process serves one stream. Envoy's reset after the answer is its normal end.
func (p *processor) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(p.task.answer(request)); err != nil {
			return err
		}
	}
}

func main() {
	p := &processor{}
	socket := flag.String("socket", "", "the Unix socket to serve on")
	flag.StringVar(&p.task.rollout, "rollout", "", "the rollout's name")
	flag.StringVar(&p.task.salt, "salt", "", "what is hashed before the unit")
	flag.StringVar(&p.task.header, "header", "", "the request header that names the unit")
	flag.StringVar(&p.task.baseline, "baseline", "", "the first variant")
	flag.StringVar(&p.task.candidate, "candidate", "", "the other variant")
	flag.Uint64Var(&p.task.percent, "percent", 0, "the candidate's share")
	flag.Parse()
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window))
	extprocv3.RegisterExternalProcessorServer(server, p)
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() {
		<-terminated
		server.Stop()
	}()
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
