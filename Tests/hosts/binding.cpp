// Tests of bindings/cpp/loragen.hpp.
//
//   binding GENERATOR CORPUS WORK
#include <loragen.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>
#include <type_traits>

static int failures = 0;

#define CLAIM(...) \
    do { \
        if (!(__VA_ARGS__)) { \
            ++failures; \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #__VA_ARGS__); \
        } \
    } while (0)

template <typename Body> static loragen_status status_of(Body body) {
    try {
        body();
    } catch (const loragen::error &error) {
        CLAIM(std::strlen(error.what()) > 0);
        return error.status();
    }
    return LORAGEN_OK;
}

struct stop {
    int step;
};

// A temporary is gone before a view of it is used, so it gives none; texts it gives as a string of the caller's.
template <typename Object, typename = void> struct has_views : std::false_type {};
template <typename Object> struct has_views<Object, std::void_t<decltype(std::declval<Object>().modules())>> : std::true_type {};
template <typename Object, typename = void> struct has_tensors : std::false_type {};
template <typename Object>
struct has_tensors<Object, std::void_t<decltype(std::declval<Object>().tensors(0))>> : std::true_type {};
template <typename Object, typename = void> struct has_tensor : std::false_type {};
template <typename Object>
struct has_tensor<Object, std::void_t<decltype(std::declval<Object>().tensor(0))>> : std::true_type {};
template <typename Object, typename = void> struct has_info : std::false_type {};
template <typename Object> struct has_info<Object, std::void_t<decltype(std::declval<Object>().info())>> : std::true_type {};
template <typename Object, typename = void> struct has_entries : std::false_type {};
template <typename Object> struct has_entries<Object, std::void_t<decltype(std::declval<Object>()[0])>> : std::true_type {};
static_assert(has_views<loragen::adapters &>::value && !has_views<loragen::adapters>::value);
static_assert(has_views<const loragen::generator &>::value && !has_views<const loragen::generator>::value);
static_assert(has_tensors<loragen::adapters &>::value && !has_tensors<loragen::adapters>::value);
static_assert(has_tensor<loragen::adapters &>::value && !has_tensor<loragen::adapters>::value);
static_assert(has_info<loragen::generator &>::value && !has_info<loragen::generator>::value);
static_assert(has_entries<loragen::corpus &>::value && !has_entries<loragen::corpus>::value);
static_assert(std::is_same_v<decltype(std::declval<loragen::analysis>().json()), std::string>);
static_assert(std::is_same_v<decltype(std::declval<loragen::verification>().text()), std::string>);
static_assert(std::is_same_v<decltype(std::declval<loragen::generator>().report()), std::string>);
static_assert(std::is_same_v<decltype(std::declval<loragen::adapters>().origin()), std::string>);
static_assert(std::is_same_v<decltype(std::declval<loragen::analysis &>().json()), std::string_view>);

int main(int argc, char **argv) {
    if (argc != 4) { return 64; }
    const std::string work = argv[3];

    CLAIM(status_of([] { loragen::generator generator("/does/not/exist"); }) == LORAGEN_IO);
    CLAIM(status_of([] { loragen::corpus corpus("/does/not/exist"); }) != LORAGEN_OK);
    CLAIM(status_of([] { loragen::adapters adapters("/does/not/exist"); }) == LORAGEN_IO);
    CLAIM(status_of([] { loragen::set_threads(0); }) == LORAGEN_INVALID_ARGUMENT);
    CLAIM(!loragen::corpus::check("/does/not/exist").empty());
    CLAIM(loragen::corpus::check(argv[2]).empty());

    const loragen::corpus corpus(argv[2]);
    CLAIM(corpus.size() > 0);
    std::string bits;
    for (std::size_t i = 0; i < corpus.size(); ++i) {
        const loragen::corpus_entry entry = corpus[i];
        CLAIM(!entry.task.empty() && entry.condition.size() == entry.bits.size());
        if (entry.split == loragen::split::test) { bits = entry.bits; }
    }
    CLAIM(status_of([&] { corpus[corpus.size()]; }) == LORAGEN_INVALID_ARGUMENT);

    // What a callback throws comes out of the call, and nothing is written.
    loragen::training_options options;
    options.progress = [](const loragen::progress &progress) -> bool { throw stop{static_cast<int>(progress.step)}; };
    try {
        loragen::train(corpus, work + "/cpp.safetensors", options);
        CLAIM(!"the exception comes out");
    } catch (const stop &) {}
    options.progress = [](const loragen::progress &) { return false; };
    CLAIM(status_of([&] { loragen::train(corpus, work + "/cpp.safetensors", options); }) == LORAGEN_CANCELLED);
    CLAIM(status_of([&] { loragen::generator generator(work + "/cpp.safetensors"); }) == LORAGEN_IO);

    int calls = 0;
    options.method = "ridge";
    options.progress = [&](const loragen::progress &) { return ++calls > 0; };
    loragen::train(corpus, work + "/cpp.safetensors", options);
    const loragen::generator trained(work + "/cpp.safetensors");
    CLAIM(trained.info().method == "ridge");

    loragen::generator opened(argv[1]);
    const loragen::generator generator = std::move(opened);
    CLAIM(opened.get() == nullptr && generator.get() != nullptr);
    CLAIM(generator.report().front() == '{');
    CLAIM(generator.modules().size() == generator.info().module_count);
    CLAIM(generator.info().condition_kind == loragen::condition_kind::bits);

    loragen::request request;
    request.bits = bits;
    request.samples = 2;
    request.seed = 7;
    const loragen::adapters adapters = generator.generate(request);
    CLAIM(adapters.size() == 2 && adapters.tensor_count() == generator.info().tensor_count);
    CLAIM(adapters.modules().size() == generator.info().module_count);
    CLAIM(adapters.tensor(0).norm() > 0 && adapters.origin().front() == '{');
    CLAIM(status_of([&] { adapters.tensor(0, 2); }) == LORAGEN_INVALID_ARGUMENT);
    // The same by parts, of which this generator has one.
    CLAIM(generator.conditions().size() == 1 && generator.conditions()[0].length == bits.size());
    loragen::request parts;
    parts.seed = 7;
    parts.conditions = {{"", "bits", {}, bits}};
    const loragen::adapters by_parts = generator.generate(parts);
    CLAIM(by_parts.tensor(0).norm() == adapters.tensor(0).norm());
    parts.conditions = {{"style", "bits", {}, bits}};
    CLAIM(status_of([&] { generator.generate(parts); }) == LORAGEN_MISMATCH);
    CLAIM(generator.report_text(true).size() < generator.report_text().size());
    request.bits = "x";
    CLAIM(status_of([&] { generator.generate(request); }) != LORAGEN_OK);

    // A const generator serves several threads.
    request.bits = bits;
    std::vector<std::thread> threads;
    std::vector<char> same(4);
    for (char &result : same) {
        threads.emplace_back([&] {
            const loragen::adapters mine = generator.generate(request);
            const auto a = mine.tensor(0, 1).values, b = adapters.tensor(0, 1).values;
            result = a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
        });
    }
    for (std::thread &thread : threads) { thread.join(); }
    CLAIM(std::all_of(same.begin(), same.end(), [](char result) { return result; }));

    adapters.save(work + "/cpp-adapter", loragen::format::peft, {loragen::dtype::bfloat16, true}, 1);
    const loragen::adapters saved(work + "/cpp-adapter");
    CLAIM(saved.tensor(0).name == adapters.tensor(0).name);

    CLAIM(loragen::compare(adapters, adapters, 0, 1).json().front() == '{');
    CLAIM(loragen::nearest(adapters, argv[2], 3).text().find("cosine") != std::string_view::npos);
    const loragen::analysis diagnosis = loragen::diagnose(argv[2]);
    CLAIM(diagnosis.errors() == 0 && diagnosis.svg().substr(0, 4) == "<svg");
    CLAIM(status_of([&] { loragen::diagnose(argv[2], 0, [](const loragen::progress &) { return false; }); }) ==
          LORAGEN_CANCELLED);

    // The folder that was saved above, alone in its group.
    loragen::import_options wanted;
    wanted.dry_run = true;
    wanted.same_base = {"no equals sign"};
    CLAIM(status_of([&] { loragen::import_corpus(work, wanted); }) == LORAGEN_INVALID_ARGUMENT);
    wanted.same_base = {"a=b"};
    CLAIM(loragen::import_corpus(work, wanted).text().find("cpp-adapter") != std::string_view::npos);

    if (failures == 0) { std::puts("ok    C++ binding"); }
    return failures != 0;
}
