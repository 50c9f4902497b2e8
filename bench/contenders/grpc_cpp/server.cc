// An ext_proc server as a C++ engineer would write it: gRPC's callback API and protobuf.
//
// It knows one rollout from its command line and decides as docs/assignment.md says.
#include <getopt.h>
#include <grpcpp/grpcpp.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <string_view>

#include "ext_proc.grpc.pb.h"
#include "murmur3.h"

namespace {

using namespace envoy::service::ext_proc::v3;
using google::protobuf::Struct;

struct Task {
  std::string rollout, salt, header, baseline, candidate;
  unsigned percent = 0;

  // The first non-empty value of the unit's header; empty if there is none.
  std::string_view Unit(const ProcessingRequest &request) const
  {
    for (const HeaderValue &one : request.request_headers().headers().headers()) {
      if (one.key() == header && !one.raw_value().empty()) {
        return one.raw_value();
      }
    }
    return {};
  }

  void Answer(const ProcessingRequest &request, ProcessingResponse *response) const
  {
    const std::string_view unit = Unit(request);
    const auto [position, second] = murmur3::Hash((salt + '\0').append(unit));
    const std::string &variant = !unit.empty() && Inside(position) ? candidate : baseline;
    CommonResponse *common = response->mutable_request_headers()->mutable_response();
    common->set_clear_route_cache(true);
    HeaderValueOption *option = common->mutable_header_mutation()->add_set_headers();
    option->set_append_action(HeaderValueOption::OVERWRITE_IF_EXISTS_OR_ADD);
    option->mutable_header()->set_key("x-canary-" + rollout);
    option->mutable_header()->set_raw_value(variant);
    Struct *decisions = Inner(response->mutable_dynamic_metadata(), "canary");
    auto &decision = *Inner(decisions, rollout)->mutable_fields();
    decision["variant"].set_string_value(variant);
    decision["version"].set_string_value("1");
    decision["reason"].set_string_value(unit.empty() ? "no_unit" : "weight");
    if (!unit.empty()) {
      decision["unit"].set_string_value(Hexadecimal(second));
    }
  }

private:
  bool Inside(std::uint64_t position) const
  {
    return position < (static_cast<unsigned __int128>(percent) << 64) / 100;
  }

  static Struct *Inner(Struct *outer, const std::string &name)
  {
    return (*outer->mutable_fields())[name].mutable_struct_value();
  }

  static std::string Hexadecimal(std::uint64_t number)
  {
    std::array<char, 17> digits{};
    std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(number));
    return {digits.data(), 16};
  }
};

// One stream: an answer to each message. Envoy's reset after the answer is its normal end.
class Exchange : public grpc::ServerBidiReactor<ProcessingRequest, ProcessingResponse> {
public:
  explicit Exchange(const Task &task) : task_(task) { StartRead(&request_); }

  void OnReadDone(bool ok) override
  {
    if (!ok) {
      Finish(grpc::Status::OK);
      return;
    }
    response_.Clear();
    task_.Answer(request_, &response_);
    StartWrite(&response_);
  }

  void OnWriteDone(bool ok) override
  {
    if (!ok) {
      Finish(grpc::Status::CANCELLED);
      return;
    }
    StartRead(&request_);
  }

  void OnDone() override { delete this; }

private:
  const Task &task_;
  ProcessingRequest request_;
  ProcessingResponse response_;
};

class Processor : public ExternalProcessor::CallbackService {
public:
  explicit Processor(const Task &task) : task_(task) {}

  grpc::ServerBidiReactor<ProcessingRequest, ProcessingResponse> *Process(
      grpc::CallbackServerContext *) override
  {
    return new Exchange(task_);
  }

private:
  const Task &task_;
};

std::map<std::string, std::string> Options(int argc, char **argv)
{
  const std::array<const char *, 7> names{"socket",   "rollout",   "salt",   "header",
                                          "baseline", "candidate", "percent"};
  std::array<option, names.size() + 1> known{};
  for (std::size_t i = 0; i < names.size(); i++) {
    known[i] = {names[i], required_argument, nullptr, 0};
  }
  std::map<std::string, std::string> given;
  for (int found = 0; getopt_long(argc, argv, "", known.data(), &found) == 0;) {
    given[names[static_cast<std::size_t>(found)]] = optarg;
  }
  if (given.size() != names.size()) {
    std::cerr << "every option must be given: socket, rollout, salt, header, baseline, candidate, percent\n";
    std::exit(EXIT_FAILURE);
  }
  return given;
}

}  // namespace

int main(int argc, char **argv)
{
  // Before gRPC's threads, so that all of them inherit it.
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);

  auto given = Options(argc, argv);
  const Task task{given["rollout"],  given["salt"],      given["header"],
                  given["baseline"], given["candidate"], static_cast<unsigned>(std::stoul(given["percent"]))};
  Processor processor(task);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + given["socket"], grpc::InsecureServerCredentials());
  builder.RegisterService(&processor);
  const auto server = builder.BuildAndStart();
  if (!server) {
    std::cerr << "cannot listen on " << given["socket"] << "\n";
    return EXIT_FAILURE;
  }
  int signum = 0;
  sigwait(&ending, &signum);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  return EXIT_SUCCESS;
}
