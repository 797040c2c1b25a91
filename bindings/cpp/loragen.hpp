// loragen for C++17: the C header with owners, exceptions and views. Header only; link with -lloragen.
//
//   loragen::generator generator("digits.loragen.safetensors");
//   loragen::request request;
//   request.bits = "0001100101";
//   loragen::adapters adapters = generator.generate(request);
//   adapters.save("my-adapter");
//
// Objects own their C handle, move but do not copy, and free it when they go. Views (tensor, module, span, string_view)
// belong to the object that was asked and are valid as long as it is; a temporary, which is gone at once, gives none: its
// texts come as std::string, and views of it do not compile. Every failure is a loragen::error.
#ifndef LORAGEN_HPP
#define LORAGEN_HPP

#include <loragen.h>

#include <cmath>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace loragen {

/// What a call of the library failed with; what() is its message.
class error : public std::runtime_error {
public:
    error(loragen_status status, const std::string &message) : std::runtime_error(message), status_(status) {}

    /// LORAGEN_IO, LORAGEN_MISMATCH, ...
    loragen_status status() const noexcept { return status_; }
    const char *status_name() const noexcept { return loragen_status_name(status_); }

private:
    loragen_status status_;
};

/// A borrowed run of values.
template <typename Value> class span {
public:
    constexpr span() noexcept = default;
    constexpr span(Value *data, std::size_t size) noexcept : data_(data), size_(size) {}

    constexpr Value *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr Value *begin() const noexcept { return data_; }
    constexpr Value *end() const noexcept { return data_ + size_; }
    constexpr Value &operator[](std::size_t index) const { return data_[index]; }

private:
    Value *data_ = nullptr;
    std::size_t size_ = 0;
};

/// What a long call reports; see loragen.h for the fields.
using progress = loragen_progress;

/// Returns whether to go on; false cancels. What it throws cancels too and comes out of the call.
using progress_callback = std::function<bool(const progress &)>;

inline std::string_view version() { return loragen_version(); }

/// What calls can name, as JSON: methods with their presets, spaces, samplers, kinds of condition, formats, hosts.
inline std::string_view names() { return loragen_names(); }

namespace detail {

    inline void check(loragen_status status) {
        if (status != LORAGEN_OK) { throw error(status, loragen_last_error()); }
    }

    inline std::string_view text(const char *c_string) { return c_string ? std::string_view(c_string) : ""; }

    inline const char *c_string(const std::string &string) { return string.empty() ? nullptr : string.c_str(); }

    /// Takes a callback through a C call: no exception may cross the library's frames.
    class callback_guard {
    public:
        explicit callback_guard(const progress_callback &callback) : callback_(callback) {}

        loragen_progress_callback function() const { return callback_ ? &call : nullptr; }

        void check(loragen_status status) const {
            if (thrown_) { std::rethrow_exception(thrown_); }
            detail::check(status);
        }

    private:
        static std::int32_t call(const loragen_progress *progress, void *payload) noexcept {
            auto *self = static_cast<callback_guard *>(payload);
            try {
                return self->callback_(*progress) ? 0 : 1;
            } catch (...) {
                self->thrown_ = std::current_exception();
                return 1;
            }
        }

        const progress_callback &callback_;
        std::exception_ptr thrown_;
    };

    template <typename Handle, void (*release)(Handle *)> struct deleter {
        void operator()(Handle *handle) const noexcept { release(handle); }
    };

    template <typename Handle, void (*release)(Handle *)>
    using owner = std::unique_ptr<Handle, deleter<Handle, release>>;

}  // namespace detail

/// The most threads that one call uses; results do not depend on it.
inline int threads() noexcept { return loragen_threads(); }
inline void set_threads(int count) { detail::check(loragen_set_threads(count)); }

/// One adapted module of the base model; the update of its weight is (alpha / rank) * B * A.
struct module {
    std::string_view name;
    std::optional<int> layer;
    int rank;
    std::int64_t inputs;
    std::int64_t outputs;
    double alpha;

    explicit module(const loragen_module &module)
        : name(module.name), layer(module.layer < 0 ? std::nullopt : std::optional<int>(module.layer)),
          rank(module.rank), inputs(module.inputs), outputs(module.outputs), alpha(module.alpha) {}
};

/// A tensor in place: row-major, contiguous, float32.
struct tensor {
    std::string_view name;
    span<const std::int64_t> shape;
    span<const float> values;

    explicit tensor(const loragen_tensor &tensor)
        : name(tensor.name), shape(tensor.shape, static_cast<std::size_t>(tensor.rank)),
          values(tensor.data, tensor.count) {}

    /// Euclidean norm.
    double norm() const {
        double sum = 0;
        for (float value : values) { sum += static_cast<double>(value) * value; }
        return std::sqrt(sum);
    }
};

enum class format : std::int32_t {
    by_suffix = LORAGEN_FORMAT_BY_SUFFIX, // what the suffix of the path says; without one a PEFT folder
    peft = LORAGEN_FORMAT_PEFT,
    safetensors = LORAGEN_FORMAT_SAFETENSORS,
    onnx = LORAGEN_FORMAT_ONNX,
    diffusers = LORAGEN_FORMAT_DIFFUSERS,
    kohya = LORAGEN_FORMAT_KOHYA,
    gguf = LORAGEN_FORMAT_GGUF,
    onnx_adapter = LORAGEN_FORMAT_ONNX_ADAPTER,
    npz = LORAGEN_FORMAT_NPZ,
};

enum class dtype : std::int32_t {
    float32 = LORAGEN_FLOAT32,
    float16 = LORAGEN_FLOAT16,
    bfloat16 = LORAGEN_BFLOAT16,
    q8_0 = LORAGEN_Q8_0, // GGUF alone
};

struct save_options {
    loragen::dtype dtype = dtype::float32;
    bool keep_alpha = false;
    std::string base = {};      // GGUF: the base model's GGUF file, config.json or folder
    bool peft_names = false; // .onnx_adapter: PEFT's keys and shapes instead of Olive's
    bool portable = false; // only what every host of language models loads and computes alike
    int layers = 0;        // of the base model, for `portable`. 0: as many as the adapter reaches
    std::string model = {};     // kohya: "sd1", "sdxl" or "flux"; empty: what the modules say

    /// As C has them; the texts are these options' own.
    loragen_save_options c() const & noexcept {
        loragen_save_options c = LORAGEN_SAVE_OPTIONS_INIT;
        c.dtype = static_cast<std::int32_t>(dtype);
        c.keep_alpha = keep_alpha;
        c.base = detail::c_string(base);
        c.naming = peft_names ? LORAGEN_NAMING_PEFT : LORAGEN_NAMING_OLIVE;
        c.portable = portable;
        c.layers = layers;
        c.model = detail::c_string(model);
        return c;
    }
    loragen_save_options c() const && = delete;
};

/// What a check of an adapter found.
class verification {
public:
    /// Checks the adapter at `adapter`, in any format, against the base model at `base` and the norms of the corpus at
    /// `corpus`; either may be empty.
    explicit verification(const std::string &adapter, const std::string &base = {}, const std::string &corpus = {}) {
        loragen_verification *handle = nullptr;
        detail::check(loragen_verify(&handle, adapter.c_str(), base.empty() ? nullptr : base.c_str(),
                                     corpus.empty() ? nullptr : corpus.c_str()));
        handle_.reset(handle);
    }

    std::size_t errors() const noexcept { return loragen_verification_errors(handle_.get()); }
    std::size_t warnings() const noexcept { return loragen_verification_warnings(handle_.get()); }
    std::string_view text() const & { return detail::text(loragen_verification_text(handle_.get())); }
    std::string text() const && { return std::string(detail::text(loragen_verification_text(handle_.get()))); }
    std::string_view json() const & { return detail::text(loragen_verification_json(handle_.get())); }
    std::string json() const && { return std::string(detail::text(loragen_verification_json(handle_.get()))); }

private:
    detail::owner<loragen_verification, loragen_verification_free> handle_;
};

/// One or more adapters of one layout, in memory.
class adapters {
public:
    /// Reads an adapter in any format; see loragen_adapters_open().
    explicit adapters(const std::string &path) {
        loragen_adapters *handle = nullptr;
        detail::check(loragen_adapters_open(&handle, path.c_str()));
        handle_.reset(handle);
    }

    /// The same with the base model, for a GGUF file of another origin; as `save_options::base`.
    adapters(const std::string &path, const std::string &base) {
        loragen_adapters *handle = nullptr;
        detail::check(loragen_adapters_open_for(&handle, path.c_str(), base.empty() ? nullptr : base.c_str()));
        handle_.reset(handle);
    }

    /// Takes over a handle of the C interface.
    explicit adapters(loragen_adapters *handle) noexcept : handle_(handle) {}

    std::size_t size() const noexcept { return loragen_adapters_count(get()); }
    std::size_t tensor_count() const noexcept { return loragen_adapters_tensor_count(get()); }
    std::size_t module_count() const noexcept { return loragen_adapters_module_count(get()); }

    loragen::tensor tensor(std::size_t index, std::size_t sample = 0) const && = delete;
    loragen::tensor tensor(std::size_t index, std::size_t sample = 0) const & {
        loragen_tensor tensor;
        detail::check(loragen_adapters_tensor(get(), sample, index, &tensor));
        return loragen::tensor(tensor);
    }

    std::vector<loragen::tensor> tensors(std::size_t sample = 0) const && = delete;
    std::vector<loragen::tensor> tensors(std::size_t sample = 0) const & {
        std::vector<loragen::tensor> all;
        for (std::size_t index = 0; index < tensor_count(); ++index) { all.push_back(tensor(index, sample)); }
        return all;
    }

    loragen::module module(std::size_t index) const && = delete;
    loragen::module module(std::size_t index) const & {
        loragen_module module;
        detail::check(loragen_adapters_module(get(), index, &module));
        return loragen::module(module);
    }

    std::vector<loragen::module> modules() const && = delete;
    std::vector<loragen::module> modules() const & {
        std::vector<loragen::module> all;
        for (std::size_t index = 0; index < module_count(); ++index) { all.push_back(module(index)); }
        return all;
    }

    /// Where a sample comes from, as JSON; empty if its file does not say.
    std::string_view origin(std::size_t sample = 0) const & {
        return detail::text(loragen_adapters_origin(get(), sample));
    }
    std::string origin(std::size_t sample = 0) const && {
        return std::string(detail::text(loragen_adapters_origin(get(), sample)));
    }

    /// The same memory as DLPack; it stays alive after the adapters are gone.
    DLManagedTensor *dlpack(std::size_t index, std::size_t sample = 0) const {
        DLManagedTensor *managed = nullptr;
        detail::check(loragen_adapters_dlpack(&managed, get(), sample, index));
        return managed;
    }

    /// Writes one sample: a PEFT folder, or one file; the suffix of the path says which.
    void save(const std::string &path, loragen::format format = format::by_suffix, const save_options &options = {},
              std::size_t sample = 0) const {
        const loragen_save_options c_options = options.c();
        detail::check(
            loragen_adapters_save(get(), sample, path.c_str(), static_cast<std::int32_t>(format), &c_options));
    }

    loragen_adapters *get() const noexcept { return handle_.get(); }

private:
    detail::owner<loragen_adapters, loragen_adapters_free> handle_;
};

/// A value for one part of a condition: numbers, or bytes: the 0110 of bits, a text, a picture's file. Of texts, pictures
/// and vectors a part may have several, whose mean counts.
struct condition {
    std::string name; // empty where one part alone can be meant
    std::string kind; // "vector" for numbers; "bits", "text", "images"
    std::vector<float> numbers;
    std::string text;
};

/// The encoders of a generator that is asked in words or by pictures: those that it was trained with.
struct encoders {
    const loragen_encoder *texts = nullptr;        // encoder::get()
    const loragen_image_encoder *images = nullptr; // image_encoder::get()
};

/// What to generate: a vector, bits or several parts, and how.
struct request {
    std::vector<float> condition;
    std::string bits;
    std::vector<loragen::condition> conditions;
    std::uint64_t seed = 0;
    int samples = 1;
    int steps = 0;                 // 0: the generator's own
    std::optional<float> guidance; // none: the generator's own
    std::string sampler;           // empty: the generator's own
    progress_callback progress;
};

enum class condition_kind : std::int32_t {
    none = LORAGEN_CONDITION_NONE,
    vector = LORAGEN_CONDITION_VECTOR,
    bits = LORAGEN_CONDITION_BITS,
    parts = LORAGEN_CONDITION_PARTS,
};

/// What a generator file holds.
struct generator_info {
    std::string_view method;
    std::string_view preset;
    std::string_view base_model; // empty if the adapters of the corpus do not name one
    loragen::condition_kind condition_kind;
    std::size_t condition_length;
    std::size_t module_count;
    std::size_t tensor_count;
    std::size_t value_count;
    std::string_view sampler;
    int steps;
    float guidance;
    std::string_view hash;
    std::size_t condition_count;
};

/// One part of the condition that a generator takes.
struct condition_info {
    std::string_view name;
    std::string_view kind; // "vector", "bits", "text", "images"
    std::size_t length;
    std::string_view encoder; // of texts and images: what they go through, as JSON
};

/// A trained generator; many threads may use one at once.
class generator {
public:
    explicit generator(const std::string &path, const loragen::encoders &encoders = {}) {
        loragen_generator_options options = LORAGEN_GENERATOR_OPTIONS_INIT;
        options.encoder = encoders.texts;
        options.image_encoder = encoders.images;
        loragen_generator *handle = nullptr;
        detail::check(loragen_generator_open_with(&handle, path.c_str(), &options));
        handle_.reset(handle);
    }

    generator_info info() const && = delete;
    generator_info info() const & {
        loragen_generator_info info = LORAGEN_GENERATOR_INFO_INIT;
        detail::check(loragen_generator_describe(get(), &info));
        return {detail::text(info.method),
                detail::text(info.preset),
                detail::text(info.base_model),
                static_cast<condition_kind>(info.condition_kind),
                info.condition_length,
                info.module_count,
                info.tensor_count,
                info.value_count,
                detail::text(info.sampler),
                info.steps,
                info.guidance,
                detail::text(info.hash),
                info.condition_count};
    }

    std::vector<condition_info> conditions() const && = delete;
    std::vector<condition_info> conditions() const & {
        std::vector<condition_info> parts;
        for (std::size_t index = 0; index < info().condition_count; ++index) {
            loragen_condition_info part = LORAGEN_CONDITION_INFO_INIT;
            detail::check(loragen_generator_condition(get(), index, &part));
            parts.push_back({detail::text(part.name), detail::text(part.kind), part.length, detail::text(part.encoder)});
        }
        return parts;
    }

    std::vector<loragen::module> modules() const && = delete;
    std::vector<loragen::module> modules() const & {
        std::vector<loragen::module> all;
        for (std::size_t index = 0, count = info().module_count; index < count; ++index) {
            loragen_module module;
            detail::check(loragen_generator_module(get(), index, &module));
            all.emplace_back(module);
        }
        return all;
    }

    /// Reads all of the file and compares it with its hash, which opening does not.
    void check() const { detail::check(loragen_generator_check(get())); }

    /// What was measured on held-out tasks, as JSON.
    std::string_view report() const & { return detail::text(loragen_generator_report(get())); }
    std::string report() const && { return std::string(detail::text(loragen_generator_report(get()))); }

    /// The same for people; `brief`: the skills and the verdict alone.
    std::string report_text(bool brief = false) const {
        return std::string(detail::text(loragen_generator_report_text(get(), brief ? 1 : 0)));
    }

    /// generate_lora().
    adapters generate(const request &request) const {
        detail::callback_guard guard(request.progress);
        std::vector<loragen_condition> parts;
        loragen_request c_request = asked(request, guard, parts);
        loragen_adapters *handle = nullptr;
        guard.check(generate_lora(&handle, get(), &c_request));
        return adapters(handle);
    }

    /// loragen_generate_file(): one sample, written while it is made, with at most `memory_limit` bytes (0: no limit).
    void generate_file(const request &request, const std::string &path, loragen::format format = format::by_suffix,
                       const save_options &options = {}, std::uint64_t memory_limit = 0, std::int32_t sample = 0) const {
        detail::callback_guard guard(request.progress);
        std::vector<loragen_condition> parts;
        loragen_request c_request = asked(request, guard, parts);
        const loragen_save_options save = options.c();
        loragen_file_options c_options = LORAGEN_FILE_OPTIONS_INIT;
        c_options.format = static_cast<std::int32_t>(format);
        c_options.save = &save;
        c_options.sample = sample;
        c_options.memory_limit = memory_limit;
        guard.check(loragen_generate_file(get(), &c_request, path.c_str(), &c_options));
    }

    loragen_generator *get() const noexcept { return handle_.get(); }

private:
    static loragen_request asked(const request &request, detail::callback_guard &guard,
                                 std::vector<loragen_condition> &parts) {
        for (const auto &part : request.conditions) {
            const bool numbers = part.kind == "vector";
            parts.push_back({detail::c_string(part.name), part.kind.c_str(),
                             numbers ? static_cast<const void *>(part.numbers.data()) : part.text.data(),
                             numbers ? part.numbers.size() : part.text.size()});
        }
        loragen_request c_request = LORAGEN_REQUEST_INIT;
        c_request.condition = request.condition.empty() ? nullptr : request.condition.data();
        c_request.condition_length = request.condition.size();
        c_request.bits = detail::c_string(request.bits);
        c_request.seed = request.seed;
        c_request.samples = request.samples;
        c_request.steps = request.steps;
        c_request.guidance = request.guidance.value_or(-1.0f);
        c_request.sampler = detail::c_string(request.sampler);
        c_request.progress = guard.function();
        c_request.payload = &guard;
        c_request.conditions = parts.empty() ? nullptr : parts.data();
        c_request.condition_count = parts.size();
        return c_request;
    }

    detail::owner<loragen_generator, loragen_generator_free> handle_;
};

enum class split : std::int32_t {
    train = LORAGEN_SPLIT_TRAIN,
    validation = LORAGEN_SPLIT_VALIDATION,
    test = LORAGEN_SPLIT_TEST,
};

/// One adapter of a corpus, as its manifest describes it.
struct corpus_entry {
    std::string_view path;
    std::string_view task;
    std::string_view run;
    std::string_view text; // empty if there is none
    std::string_view bits; // empty if there are none
    span<const float> condition;
    loragen::split split;
};

/// A folder of PEFT adapters, or a packed file.
class corpus {
public:
    /// Opens a corpus and checks all of it.
    explicit corpus(const std::string &path) {
        loragen_corpus *handle = nullptr;
        detail::check(loragen_corpus_open(&handle, path.c_str()));
        handle_.reset(handle);
    }

    /// Every problem of a corpus; empty if there is none.
    static std::vector<std::string> check(const std::string &path) {
        struct bridge {
            std::vector<std::string> problems;
            std::exception_ptr thrown;
        } bridge;
        const auto collect = [](const char *message, void *payload) noexcept -> std::int32_t {
            auto *self = static_cast<struct bridge *>(payload);
            try {
                self->problems.emplace_back(message);
                return 0;
            } catch (...) {
                self->thrown = std::current_exception();
                return 1;
            }
        };
        const loragen_status status = loragen_corpus_check(path.c_str(), collect, &bridge);
        if (bridge.thrown) { std::rethrow_exception(bridge.thrown); }
        if (bridge.problems.empty()) { detail::check(status); }
        return std::move(bridge.problems);
    }

    std::size_t size() const noexcept { return loragen_corpus_count(get()); }

    corpus_entry operator[](std::size_t index) const && = delete;
    corpus_entry operator[](std::size_t index) const & {
        loragen_corpus_entry entry;
        detail::check(loragen_corpus_entry_at(get(), index, &entry));
        return {detail::text(entry.path),
                detail::text(entry.task),
                detail::text(entry.run),
                detail::text(entry.text),
                detail::text(entry.bits),
                {entry.condition, entry.condition_length},
                static_cast<loragen::split>(entry.split)};
    }

    /// Drafts a manifest for a folder of PEFT adapters that has none; one that exists is never replaced.
    static void init(const std::string &folder, std::uint64_t seed = 0) {
        detail::check(loragen_corpus_init(folder.c_str(), seed));
    }

    /// Writes PEFT folders with a manifest into `folder`, which must not exist.
    void unpack(const std::string &folder) const { detail::check(loragen_corpus_unpack(get(), folder.c_str())); }

    loragen_corpus *get() const noexcept { return handle_.get(); }

private:
    detail::owner<loragen_corpus, loragen_corpus_free> handle_;
};

/// What was measured on adapters.
class analysis {
public:
    /// By the schema in docs/doctor.md.
    std::string_view json() const & { return detail::text(loragen_analysis_json(get())); }
    std::string json() const && { return std::string(detail::text(loragen_analysis_json(get()))); }
    /// For people.
    std::string_view text() const & { return detail::text(loragen_analysis_text(get())); }
    std::string text() const && { return std::string(detail::text(loragen_analysis_text(get()))); }
    /// A picture; empty unless it comes from diagnose().
    std::string_view svg() const & { return detail::text(loragen_analysis_svg(get())); }
    std::string svg() const && { return std::string(detail::text(loragen_analysis_svg(get()))); }
    /// Findings that stand in the way of training.
    std::size_t errors() const noexcept { return loragen_analysis_errors(get()); }

    /// Takes over a handle of the C interface.
    explicit analysis(loragen_analysis *handle) noexcept : handle_(handle) {}
    loragen_analysis *get() const noexcept { return handle_.get(); }

private:
    detail::owner<loragen_analysis, loragen_analysis_free> handle_;
};

/// Two samples side by side, as updates of the base model.
inline analysis compare(const adapters &a, const adapters &b, std::size_t sample_a = 0, std::size_t sample_b = 0) {
    loragen_analysis *handle = nullptr;
    detail::check(loragen_compare(&handle, a.get(), sample_a, b.get(), sample_b));
    return analysis(handle);
}

/// The adapters below a folder that are most similar to a sample; 0: all.
inline analysis nearest(const adapters &adapters, const std::string &folder, std::size_t count = 0,
                        std::size_t sample = 0) {
    loragen_analysis *handle = nullptr;
    detail::check(loragen_nearest(&handle, adapters.get(), sample, folder.c_str(), count));
    return analysis(handle);
}

struct import_options {
    std::uint64_t seed = 0;
    std::size_t group = 0; // 0: the largest
    std::int32_t rank = 0; // 0: any
    bool keep_checkpoints = false;
    bool dry_run = false;
    std::vector<std::string> same_base; // "A=B"
};

/// loragen_corpus_import(): drafts the manifest of a folder from what lies beside its adapters.
inline analysis import_corpus(const std::string &folder, const import_options &wanted = {}) {
    loragen_import_options options = LORAGEN_IMPORT_OPTIONS_INIT;
    options.seed = wanted.seed;
    options.group = wanted.group;
    options.rank = wanted.rank;
    options.keep_checkpoints = wanted.keep_checkpoints;
    options.dry_run = wanted.dry_run;
    std::vector<const char *> names;
    for (const std::string &pair : wanted.same_base) names.push_back(pair.c_str());
    options.same_base = names.data();
    options.same_base_count = names.size();
    loragen_analysis *handle = nullptr;
    detail::check(loragen_corpus_import(&handle, folder.c_str(), &options));
    return analysis(handle);
}

/// loragen_doctor(): a folder of adapters before training.
inline analysis diagnose(const std::string &path, std::uint64_t memory_limit = 0,
                         const progress_callback &progress = {}) {
    detail::callback_guard guard(progress);
    loragen_doctor_options options = LORAGEN_DOCTOR_OPTIONS_INIT;
    options.memory_limit = memory_limit;
    options.progress = guard.function();
    options.payload = &guard;
    loragen_analysis *handle = nullptr;
    guard.check(loragen_doctor(&handle, path.c_str(), &options));
    return analysis(handle);
}

struct training_options {
    std::string method = "cond-pdiff";
    std::string preset;     // empty: "default"
    std::string settings;   // a JSON object; empty: none
    std::uint64_t seed = 0;
    std::uint64_t memory_limit = 0; // bytes; 0: no limit
    std::string checkpoint;         // empty: none
    double checkpoint_seconds = 0;  // 0: 30
    progress_callback progress;
    loragen::encoders encoders; // for tasks in words or by pictures
    std::string condition;      // the manifest's field to be asked by; empty: what there is
};

/// Trains a generator on a corpus and writes it to `path`.
inline void train(const corpus &corpus, const std::string &path, const training_options &options = {}) {
    detail::callback_guard guard(options.progress);
    loragen_training_options c_options = LORAGEN_TRAINING_OPTIONS_INIT;
    c_options.method = options.method.c_str();
    c_options.preset = detail::c_string(options.preset);
    c_options.settings = detail::c_string(options.settings);
    c_options.seed = options.seed;
    c_options.memory_limit = options.memory_limit;
    c_options.checkpoint = detail::c_string(options.checkpoint);
    c_options.checkpoint_seconds = options.checkpoint_seconds;
    c_options.encoder = options.encoders.texts;
    c_options.image_encoder = options.encoders.images;
    c_options.condition = detail::c_string(options.condition);
    c_options.progress = guard.function();
    c_options.payload = &guard;
    guard.check(loragen_train(corpus.get(), path.c_str(), &c_options));
}

namespace detail {

/// Keeps the remarks of a call; a failure to keep one cancels it.
inline std::int32_t keep_note(const char *message, void *payload) noexcept {
    try {
        static_cast<std::vector<std::string> *>(payload)->emplace_back(message);
        return 0;
    } catch (...) {
        return 1;
    }
}

}  // namespace detail

/// Writes an adapter in another format; what comes back is what the new file does not have. `lossy` allows changes of
/// numbers beyond rounding; `lora_only` reads the LoRA part of an adapter that has more, such as a trained head.
inline std::vector<std::string> convert(const std::string &source, const std::string &target,
                                        loragen::format format = format::by_suffix, const save_options &options = {},
                                        bool lossy = false, bool lora_only = false) {
    const loragen_save_options save = options.c();
    std::vector<std::string> notes;
    loragen_convert_options c_options = LORAGEN_CONVERT_OPTIONS_INIT;
    c_options.save = &save;
    c_options.lossy = lossy;
    c_options.note = detail::keep_note;
    c_options.payload = &notes;
    c_options.lora_only = lora_only;
    detail::check(
        loragen_convert(source.c_str(), target.c_str(), static_cast<std::int32_t>(format), &c_options));
    return notes;
}

enum class apply_mode : std::int32_t {
    merge = LORAGEN_APPLY_MERGE,
    unmerge = LORAGEN_APPLY_UNMERGE,
    inject = LORAGEN_APPLY_INJECT,
    inputs = LORAGEN_APPLY_INPUTS,
    remove = LORAGEN_APPLY_REMOVE,
};

/// Applies an adapter in any format to a model's files; see loragen_apply(). `adapter` is empty for `remove`. Remarks
/// come back.
inline std::vector<std::string> apply(const std::string &model, const std::string &adapter, const std::string &target,
                                      apply_mode mode = apply_mode::merge, double scale = 1,
                                      const std::string &base = {}, bool lora_only = false,
                                      const std::string &basis = {}) {
    std::vector<std::string> notes;
    loragen_apply_options options = LORAGEN_APPLY_OPTIONS_INIT;
    options.mode = static_cast<std::int32_t>(mode);
    options.scale = scale;
    options.base = detail::c_string(base);
    options.note = detail::keep_note;
    options.payload = &notes;
    options.lora_only = lora_only;
    options.basis = detail::c_string(basis);
    detail::check(loragen_apply(model.c_str(), detail::c_string(adapter), target.c_str(), &options));
    return notes;
}

struct basis_options {
    std::string method = "svfit";   // or "loldu"
    std::int32_t rank = 16;         // 0: all directions
    std::string targets;            // "q_proj,v_proj"; empty: all linear layers and convolutions
    std::string prefix;
    double tolerance = 0;           // 0: 1e-5
    loragen::dtype dtype = dtype::float32;
    std::uint64_t memory_limit = 0; // bytes; 0: what the process can have
    std::string checkpoint;         // empty: none
    std::string pivots;             // empty: searched
    progress_callback progress;
};

/// The frozen directions of a base model's weights, for compact adapters.
class basis {
public:
    explicit basis(const std::string &path) {
        loragen_basis *handle = nullptr;
        detail::check(loragen_basis_open(&handle, path.c_str()));
        handle_.reset(handle);
    }

    /// loragen_basis_compute(): once for each base model.
    static void compute(const std::string &base, const std::string &path, const basis_options &options = {}) {
        detail::callback_guard guard(options.progress);
        loragen_basis_options c_options = LORAGEN_BASIS_OPTIONS_INIT;
        c_options.method = options.method.c_str();
        c_options.rank = options.rank;
        c_options.targets = detail::c_string(options.targets);
        c_options.prefix = detail::c_string(options.prefix);
        c_options.tolerance = options.tolerance;
        c_options.dtype = static_cast<std::int32_t>(options.dtype);
        c_options.memory_limit = options.memory_limit;
        c_options.checkpoint = detail::c_string(options.checkpoint);
        c_options.pivots = detail::c_string(options.pivots);
        c_options.progress = guard.function();
        c_options.payload = &guard;
        guard.check(loragen_basis_compute(base.c_str(), path.c_str(), &c_options));
    }

    /// Compares the fingerprints with the base model's weights.
    void check(const std::string &base) const { detail::check(loragen_basis_check(get(), base.c_str())); }

    std::string_view json() const & { return detail::text(loragen_basis_json(get())); }
    std::string json() const && { return std::string(detail::text(loragen_basis_json(get()))); }

    std::vector<loragen::module> modules() const && = delete;
    std::vector<loragen::module> modules() const & {
        std::vector<loragen::module> all;
        for (std::size_t index = 0, count = loragen_basis_module_count(get()); index < count; ++index) {
            loragen_module module;
            detail::check(loragen_basis_module(get(), index, &module));
            all.emplace_back(module);
        }
        return all;
    }

    loragen_basis *get() const noexcept { return handle_.get(); }

private:
    detail::owner<loragen_basis, loragen_basis_free> handle_;
};

/// The tokens of one text after a layer of an encoder.
class states {
public:
    explicit states(loragen_states *handle) : handle_(handle) {}

    std::size_t count() const noexcept { return loragen_states_count(handle_.get()); }
    const std::int32_t *ids() const & { return loragen_states_ids(handle_.get()); }
    const float *values() const & { return loragen_states_values(handle_.get()); } // [count, state_width]
    const float *pooled() const & { return loragen_states_pooled(handle_.get()); } // [width]

private:
    detail::owner<loragen_states, loragen_states_free> handle_;
};

/// Texts to vectors, from a folder of Hugging Face's.
class encoder {
public:
    /// `tokenizer`: a folder with the tokenizer's files; empty: they are in the encoder's own.
    explicit encoder(const std::string &folder, const std::string &tokenizer = {}) {
        loragen_encoder_options options = LORAGEN_ENCODER_OPTIONS_INIT;
        options.tokenizer = detail::c_string(tokenizer);
        loragen_encoder *handle = nullptr;
        detail::check(loragen_encoder_open(&handle, folder.c_str(), &options));
        handle_.reset(handle);
    }

    std::size_t width() const noexcept { return loragen_encoder_width(get()); }
    std::size_t state_width() const noexcept { return loragen_encoder_state_width(get()); }
    std::size_t layers() const noexcept { return loragen_encoder_layers(get()); }
    std::string_view json() const & { return detail::text(loragen_encoder_json(get())); }

    /// [texts, width], row-major.
    std::vector<float> encode(const std::vector<std::string> &texts) const {
        std::vector<const char *> pointers;
        for (const auto &text : texts) { pointers.push_back(text.c_str()); }
        std::vector<float> vectors(texts.size() * width());
        detail::check(loragen_encoder_encode(get(), pointers.data(), pointers.size(), vectors.data()));
        return vectors;
    }

    /// Layer 0 is what the embeddings give, -1 the last hidden state.
    loragen::states states(const std::string &text, std::int32_t layer = -1) const {
        loragen_states *handle = nullptr;
        detail::check(loragen_encoder_states(&handle, get(), text.c_str(), layer));
        return loragen::states(handle);
    }

    loragen_encoder *get() const noexcept { return handle_.get(); }

private:
    detail::owner<loragen_encoder, loragen_encoder_free> handle_;
};

/// One number per direction of a basis.
class compact_adapter {
public:
    explicit compact_adapter(const std::string &path) {
        loragen_compact *handle = nullptr;
        detail::check(loragen_compact_open(&handle, path.c_str()));
        handle_.reset(handle);
    }

    compact_adapter(const loragen::basis &basis, span<const float> deltas, std::int32_t rank = 0) {
        loragen_compact *handle = nullptr;
        detail::check(loragen_compact_create(&handle, basis.get(), deltas.data(), deltas.size(), rank));
        handle_.reset(handle);
    }

    span<const float> deltas() const & { return {loragen_compact_deltas(get()), loragen_compact_count(get())}; }

    std::string_view json() const & { return detail::text(loragen_compact_json(get())); }
    std::string json() const && { return std::string(detail::text(loragen_compact_json(get()))); }

    void save(const std::string &path, bool relative = false) const {
        detail::check(loragen_compact_save(
            get(), path.c_str(), relative ? LORAGEN_COORDINATES_RELATIVE : LORAGEN_COORDINATES_ABSOLUTE));
    }

    /// The same update as an ordinary adapter; `rank` cuts it, `limit` is a trust region, 0: neither.
    adapters expand(const loragen::basis &basis, std::int32_t rank = 0, double limit = 0) const {
        loragen_expand_options options = LORAGEN_EXPAND_OPTIONS_INIT;
        options.rank = rank;
        options.limit = limit;
        loragen_adapters *handle = nullptr;
        detail::check(loragen_compact_expand(&handle, get(), basis.get(), &options));
        return adapters(handle);
    }

    loragen_compact *get() const noexcept { return handle_.get(); }

private:
    detail::owner<loragen_compact, loragen_compact_free> handle_;
};

/// A picture for an encoder; what it refers to must outlive the call that takes it.
class picture {
public:
    /// A PNG, JPEG or WebP file.
    explicit picture(const std::string &path) : picture() { value_.path = path.c_str(); }

    /// The bytes of one.
    explicit picture(span<const unsigned char> file) : picture() {
        value_.file = file.data();
        value_.file_size = file.size();
    }

    /// Raw rows of red, green and blue; `stride` bytes apart, 0: 3 * width.
    picture(const std::uint8_t *rgb, std::int64_t width, std::int64_t height, std::int64_t stride = 0) : picture() {
        value_.rgb = rgb;
        value_.width = width;
        value_.height = height;
        value_.stride = stride;
    }

    /// Leaves the orientation that the file gives aside.
    picture &as_stored() {
        value_.as_stored = 1;
        return *this;
    }

    /// Takes colours as stored, instead of laying what is transparent on white.
    picture &drop_alpha() {
        value_.drop_alpha = 1;
        return *this;
    }

    const loragen_picture *get() const noexcept { return &value_; }

private:
    picture() { value_ = LORAGEN_PICTURE_INIT; }

    loragen_picture value_;
};

/// Pictures as vectors: ViT, DINOv2, the vision towers of CLIP and SigLIP, from a Hugging Face folder.
class image_encoder {
public:
    explicit image_encoder(const std::string &folder) {
        loragen_image_encoder *handle = nullptr;
        detail::check(loragen_image_encoder_open(&handle, folder.c_str()));
        handle_.reset(handle);
    }

    std::size_t width() const { return loragen_image_encoder_width(get()); }
    std::size_t state_width() const { return loragen_image_encoder_state_width(get()); }
    std::size_t layers() const { return loragen_image_encoder_layers(get()); }

    std::string_view json() const & { return detail::text(loragen_image_encoder_json(get())); }
    std::string json() const && { return std::string(detail::text(loragen_image_encoder_json(get()))); }

    /// [width]
    std::vector<float> encode(const loragen::picture &picture) const {
        std::vector<float> vector(width());
        const loragen_picture *pictures = picture.get();
        detail::check(loragen_image_encoder_encode(get(), &pictures, 1, vector.data()));
        return vector;
    }

    loragen_image_encoder *get() const noexcept { return handle_.get(); }

private:
    detail::owner<loragen_image_encoder, loragen_image_encoder_free> handle_;
};

static_assert(std::is_nothrow_move_constructible_v<generator> && !std::is_copy_constructible_v<generator>);

}  // namespace loragen

#endif
